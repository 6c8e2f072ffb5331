"""What a frozen teacher says of the evaluation sets: always the same, so it is asked only once."""

from collections.abc import Hashable

from alm_lightning.data.batch import DistillBatch
from alm_lightning.likelihood.signal import ModelSignal
from alm_lightning.models.pair import Teacher


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
