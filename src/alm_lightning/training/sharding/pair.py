"""Student, teacher and objectives of a run whose weights are spread over ranks."""

from collections.abc import Sequence
from itertools import zip_longest

import torch

from alm_lightning.data.batch import DistillBatch
from alm_lightning.models.pair import Scorer
from alm_lightning.objectives.objective import Objective
from alm_lightning.scores.ensemble import Teaching
from alm_lightning.training.sharding.models import Sharded, ShardedTerms
from alm_lightning.training.sharding.strategy import ShardedStrategy
from alm_lightning.training.step import Reduce


class SpreadPair:
    """Spreads what a run is made of, and keeps ranks in step.

    Gathering is a call that all ranks take part in, so that each must call its models as often as
    the others. `DistillStep` sees to that in training; `start` and `catch_up` do in validations,
    where ranks may have different numbers of batches.

    Args:
        student: The student, whole.
        teacher: The teacher, whole; or stores of what several said.
        terms: The objective's terms.
        strategy: How to spread, and whether the teacher is spread too.
    """

    def __init__(
        self,
        student: Scorer,
        teacher: Teaching,
        terms: Sequence[Objective],
        strategy: ShardedStrategy,
    ):
        spread, is_first = strategy.spread(), strategy.is_global_zero
        # what a whole teacher has anyway is not held a second time, in shares
        shared = teacher if isinstance(teacher, Scorer) and not strategy.shard_teacher else None
        whole = [] if shared is None else list(shared.model.parameters())
        self.student = Sharded(student, spread, whole=whole, keeps_copy=is_first)
        self.teacher: Sharded | None = None
        if strategy.shard_teacher and isinstance(teacher, Scorer):
            self.teacher = Sharded(teacher, spread, keeps_copy=is_first)
        models = [self.student] if self.teacher is None else [self.student, self.teacher]
        # block by block in both: a weight that they share lies whole on a device from the moment
        # when one model spreads it until the other one does
        for _ in zip_longest(*(model.spread() for model in models)):
            pass
        self.teacher_scorer: Teaching = teacher if self.teacher is None else self.teacher.scorer
        self._terms = ShardedTerms(terms, spread)
        self._seen: DistillBatch | None = None
        self._missing = 0

    def stand_in(self) -> DistillBatch:
        """A batch for a rank that has none in this step: the first one that it evaluated on."""
        if self._seen is None:
            raise RuntimeError(
                "this rank has no text in the first step, and has evaluated on none before. Call "
                "trainer.validate before trainer.fit, or raise budget.batch_size."
            )
        return self._seen

    def start(self, num_batches: int, reduce: Reduce) -> None:
        """Begins a validation: before any rank gathers anything.

        Args:
            num_batches: Of this rank, over all evaluation sets.
            reduce: Maximum over ranks.
        """
        own = torch.tensor(num_batches, device=self.student.scorer.model.device)
        self._missing = int(reduce(own, "max")) - num_batches

    def see(self, batch: DistillBatch) -> None:
        """Keeps a batch to stand in, if it is the first one.

        Args:
            batch: Any batch of this rank.
        """
        self._seen = batch if self._seen is None else self._seen

    def catch_up(self, *, is_teacher_asked: bool) -> None:
        """Ends a validation: calls the models as often as the rank with most batches has.

        Args:
            is_teacher_asked: Whether the teacher is called in this validation.
        """
        for _ in range(self._missing):
            batch = self.stand_in()
            self.student.scorer(batch, batch.student, keep_tokens=False)
            # a store has no weights to gather
            if is_teacher_asked and isinstance(self.teacher_scorer, Scorer):
                self.teacher_scorer(batch, batch.teacher, keep_tokens=False)
        self.reshard()

    def reshard(self) -> None:
        """Gives back what was gathered, at the end of a step or a validation."""
        self.student.reshard()
        self._terms.reshard()
        if self.teacher is not None:
            self.teacher.reshard()
            self.teacher.forget_passes()

    def whole(self) -> tuple[Scorer, Teaching]:
        """Student and teacher put together on the CPU of the first rank. Every rank must call.

        Returns:
            Both; on other ranks what they hold.
        """
        student = self.student.whole() or self.student.scorer
        if self.teacher is None:
            return student, self.teacher_scorer
        return student, self.teacher.whole() or self.teacher_scorer
