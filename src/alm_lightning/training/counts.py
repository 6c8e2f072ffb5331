"""How much a step has read, and what the student has said in it, over all ranks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor

from alm_lightning.data.batch import DistillBatch
from alm_lightning.training.on_policy import AnswerCounts

SumOverRanks = Callable[[Int[Tensor, " count"]], Int[Tensor, " count"]]


@dataclass(frozen=True)
class StepCounts:
    """What all ranks together have read in a step.

    Attributes:
        num_bytes: Of text in chunks.
        teacher_tokens: Tokens that teachers have read, prompts and start tokens included.
        answers: What the student has said itself.
    """

    num_bytes: int = 0
    teacher_tokens: int = 0
    answers: AnswerCounts = field(default_factory=AnswerCounts)

    def figures(self) -> dict[str, float]:
        """What is logged of the answers, by name; nothing where there are none."""
        number = self.answers.answers
        if not number:
            return {}
        return {
            "on_policy/answers": float(number),
            "on_policy/ended": self.answers.ended / number,
            "on_policy/tokens": self.answers.tokens / number,
            "on_policy/unusable": float(self.answers.unusable),
        }


def counts_of(
    batches: Sequence[DistillBatch],
    answers: AnswerCounts,
    *,
    is_teacher_read: bool,
    sum_over_ranks: SumOverRanks,
    device: torch.device,
) -> StepCounts:
    """Adds a step up. All ranks must call.

    Args:
        batches: This rank's micro-batches, as they were trained on.
        answers: Of this rank.
        is_teacher_read: Whether a term of the step has read the teachers.
        sum_over_ranks: Adds counts up.
        device: Where ranks exchange tensors.

    Returns:
        The sums.
    """
    num_bytes = sum(int(batch.host.num_bytes.sum()) for batch in batches)
    views = [view for batch in batches for view in batch.views] if is_teacher_read else []
    teacher_tokens = sum(int(view.teacher.host.mask.sum()) for view in views)
    own = torch.tensor([num_bytes, teacher_tokens, *answers], device=device)
    first, second, *others = sum_over_ranks(own).tolist()
    return StepCounts(first, second, AnswerCounts(*others))
