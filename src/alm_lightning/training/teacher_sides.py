"""What a frozen teacher says of the evaluation sets: always the same, so it is asked only once."""

from collections.abc import Hashable

from alm_lightning.data.batch import DistillBatch
from alm_lightning.likelihood.signal import ModelSignal
from alm_lightning.models.pair import Teacher
from alm_lightning.scores.ensemble import LOSSES, StoredTeachers, Teaching


class TeacherSides:
    """The teacher's side of each evaluation batch, kept from the first validation on.

    A few numbers a token, where computing them again takes half of a validation's time or more.
    """

    def __init__(self, teacher: Teacher):
        """Nothing is kept yet.

        Args:
            teacher: The teacher, whose weights must not change.
        """
        self.teacher = teacher
        self._data: object = None
        self._kept: dict[Hashable, ModelSignal] = {}
        self.num_calls = 0

    def keep_for(self, data: object) -> None:
        """Forgets everything, unless it is of this data, and counts calls of the teacher anew.

        Args:
            data: What the coming batches are from; the same object gives the same batches.
        """
        self.num_calls = 0
        if self._data is not data:
            self._data, self._kept = data, {}

    def __call__(self, batch: DistillBatch, place: Hashable) -> ModelSignal:
        """The teacher's side of a batch.

        Args:
            batch: The batch.
            place: Which one of the data it is.

        Returns:
            The side, without hidden states.
        """
        if place not in self._kept:
            self.num_calls += 1
            self._kept[place] = self.teacher(batch, batch.teacher)
        return self._kept[place]


class SidesOfAll:
    """The same of one teacher, or of each of several and of what they are together.

    Args:
        teaching: The teacher, or several.

    Attributes:
        labels: What several teachers are called, in the order of a batch's views; none for one.
    """

    def __init__(self, teaching: Teaching):
        self.labels: tuple[str, ...] = ()
        self._together: TeacherSides | None = None
        if isinstance(teaching, StoredTeachers):
            self.labels = teaching.labels
            self._each = [TeacherSides(teacher) for teacher in teaching.each]
            if teaching.combine != LOSSES:
                (joint,) = teaching.teaching
                self._together = TeacherSides(joint)
        else:
            self._each = [TeacherSides(teaching)]

    def keep_for(self, data: object) -> None:
        """Forgets everything, unless it is of this data, and counts calls anew.

        Args:
            data: What the coming batches are from.
        """
        for sides in self._all:
            sides.keep_for(data)

    @property
    def _all(self) -> list[TeacherSides]:
        return self._each if self._together is None else [*self._each, self._together]

    @property
    def is_one(self) -> bool:
        """Whether there is one teacher, or several teach as one."""
        return not self.labels or self._together is not None

    @property
    def num_calls(self) -> int:
        """Calls of teachers since `keep_for`."""
        return sum(sides.num_calls for sides in self._all)

    def views(self, batch: DistillBatch, place: Hashable) -> list[ModelSignal]:
        """Each teacher's side of a batch.

        Args:
            batch: The batch.
            place: Which one of the data it is.

        Returns:
            The sides, in the order of the batch's views.
        """
        return [sides(view, place) for sides, view in zip(self._each, batch.views, strict=True)]

    def together(self, batch: DistillBatch, place: Hashable) -> ModelSignal | None:
        """What several teachers say of a batch as one; None where their losses are combined.

        Args:
            batch: The batch.
            place: Which one of the data it is.

        Returns:
            The side, or None.
        """
        return None if self._together is None else self._together(batch, place)
