"""Packing: which windows share a row, so that less of a batch is padding."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


@runtime_checkable
class Packing(Protocol):
    """Which windows share a row: `OnePerRow`, `FirstFit`."""

    is_packed: bool
    """Whether a row may hold several windows."""

    def rows(self, sizes: Sequence[tuple[int, int]]) -> list[list[int]]:
        """Indices of the windows of each row, from their student and teacher tokens."""
        ...


class OnePerRow:
    """Each window is a row of its own."""

    is_packed = False

    def rows(self, sizes: Sequence[tuple[int, int]]) -> list[list[int]]:
        """The windows of each row.

        Args:
            sizes: Student and teacher tokens of each window, special tokens included.

        Returns:
            One index a row.

        Example:
            >>> OnePerRow().rows([(3, 2), (4, 4)])
            [[0], [1]]
        """
        return [[index] for index in range(len(sizes))]


class FirstFit:
    """Windows from the longest to the shortest, each in the first row that has room on both sides.

    Both sides of a row must fit. A step's loss is the same as without packing: sums and weights are
    over all of its windows, and no token sees another document.

    Args:
        student_length: The most student tokens of a row: budget.student_length, or more.
        teacher_length: The same for the teacher.
    """

    is_packed = True

    def __init__(self, *, student_length: int, teacher_length: int):
        if min(student_length, teacher_length) < 1:
            raise ValueError(
                f"rows of {student_length} student and {teacher_length} teacher tokens hold "
                "nothing. Set packing.student_length and packing.teacher_length to those of the "
                "budget, or more."
            )
        self.lengths = (student_length, teacher_length)

    def rows(self, sizes: Sequence[tuple[int, int]]) -> list[list[int]]:
        """The windows of each row.

        Args:
            sizes: Student and teacher tokens of each window, special tokens included.

        Returns:
            Indices of each row; together they hold each window once.

        Raises:
            ValueError: A window is longer than a row.

        Example:
            >>> FirstFit(student_length=8, teacher_length=6).rows([(5, 2), (3, 3), (3, 2), (2, 5)])
            [[3], [0, 1], [2]]
        """
        for student, teacher in sizes:
            if student > self.lengths[0] or teacher > self.lengths[1]:
                raise ValueError(
                    f"a window of {student} student and {teacher} teacher tokens is longer than a "
                    f"row of {self.lengths[0]} and {self.lengths[1]}. Set packing.student_length "
                    "and packing.teacher_length to those of the budget, or more."
                )
        found: list[list[int]] = []
        room: list[list[int]] = []
        # by the share of a row that a window fills on its fuller side; ties stay in order
        fullness = [max(s / self.lengths[0], t / self.lengths[1]) for s, t in sizes]
        for index in sorted(range(len(sizes)), key=lambda i: -fullness[i]):
            student, teacher = sizes[index]
            for row, left in zip(found, room, strict=True):
                if student <= left[0] and teacher <= left[1]:
                    row.append(index)
                    left[0] -= student
                    left[1] -= teacher
                    break
            else:
                found.append([index])
                room.append([self.lengths[0] - student, self.lengths[1] - teacher])
        return found
