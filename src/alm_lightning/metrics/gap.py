"""How far training brought a student from where it started to its teacher."""


def gap_closed(*, before: float, after: float, teacher: float) -> float | None:
    """Share of the gap between an untrained student and its teacher that training has closed.

    Args:
        before: The student's figure before training.
        after: The same figure after training.
        teacher: The teacher's; 0 for a difference to the teacher.

    Returns:
        1 where the student has reached its teacher, 0 where it is as it was, below 0 where it has
        become worse, above 1 where it is better than its teacher; None without a gap. Of a student
        that was the better one before training, it is the share of its lead that it has lost.

    Example:
        >>> gap_closed(before=2.5, after=1.5, teacher=1.25)
        0.8
    """
    return (before - after) / (before - teacher) if before != teacher else None
