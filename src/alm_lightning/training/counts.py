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
        num_teacher_tokens: Tokens of teachers that count in the step, prompts and start tokens
            included. Of a store, those whose scores were used.
        answers: What the student has said itself.
    """

    num_bytes: int = 0
    num_teacher_tokens: int = 0
    answers: AnswerCounts = field(default_factory=AnswerCounts)

    def figures(self) -> dict[str, float]:
        """What is logged of the answers, by name; nothing where there are none."""
        counts = self.answers
        if not counts.num_answers:
            return {}
        return {
            "on_policy/answers": float(counts.num_answers),
            "on_policy/ended": counts.num_ended / counts.num_answers,
            "on_policy/tokens": counts.num_tokens / counts.num_answers,
            "on_policy/unusable": float(counts.num_unusable),
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
        is_teacher_read: Whether a term of the step reads what teachers say.
        sum_over_ranks: Adds counts up.
        device: Where ranks exchange tensors.

    Returns:
        The sums.
    """
    num_bytes = sum(int(batch.host.num_bytes.sum()) for batch in batches)
    num_tokens = 0
    if is_teacher_read:
        num_tokens = sum(
            int(view.teacher.host.mask.sum())
            for batch in batches
            for view, share in zip(batch.views, batch.shares, strict=True)
            if share
        )
    own = torch.tensor([num_bytes, num_tokens, *answers], device=device)
    num_bytes, num_tokens, *counts = sum_over_ranks(own).tolist()
    return StepCounts(num_bytes, num_tokens, AnswerCounts(*counts))
