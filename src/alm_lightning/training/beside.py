"""What is known of the micro-batches of a step before the student runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from alm_lightning.data.batch import DistillBatch
from alm_lightning.likelihood.signal import ModelSignal, Supervision
from alm_lightning.models.pair import Teacher
from alm_lightning.objectives.objective import Objective

Sum = Callable[[Shaped[Tensor, "..."]], Shaped[Tensor, "..."]]
"""The sum of a tensor over all ranks."""


@dataclass(frozen=True)
class Asked:
    """What a step asks of a model.

    Attributes:
        keep_tokens: Log-likelihoods of tokens and chunks.
        keep_hidden: Hidden states at the ends of chunks.
        keep_distributions: Whole next-token distributions.
    """

    keep_tokens: bool
    keep_hidden: bool
    keep_distributions: bool

    @classmethod
    def by(cls, terms: Sequence[Objective]) -> "Asked":
        """What some terms need of a model that they read.

        Args:
            terms: For the student all that are active, for the teacher those that read it.

        Returns:
            The record.
        """
        return cls(
            keep_tokens=any(term.needs_tokens for term in terms),
            keep_hidden=any(term.needs_hidden for term in terms),
            keep_distributions=any(term.needs_distributions for term in terms),
        )


@torch.no_grad()
def beside(
    teacher: Teacher,
    batches: Sequence[DistillBatch],
    num_own: int,
    *,
    asked: Asked,
    reduce: Sum,
    device: torch.device,
) -> list[Supervision]:
    """What is known of each micro-batch beside one teacher, which is asked here.

    Args:
        teacher: The teacher.
        batches: Micro-batches with its tokens.
        num_own: How many of them count; the others keep ranks in step.
        asked: What is asked of the teacher.
        reduce: Sum over ranks.
        device: Where the student is.

    Returns:
        One record a micro-batch.
    """
    signals = [teacher(batch, batch.teacher, **vars(asked)) for batch in batches]
    mean_square = None
    if asked.keep_hidden:
        mean_square = _mean_square(teacher, batches[:num_own], signals[:num_own], reduce, device)
    return [
        supervision(batch, teacher=signal, mean_square=mean_square)
        for batch, signal in zip(batches, signals, strict=True)
    ]


def supervision(
    batch: DistillBatch,
    *,
    teacher: ModelSignal | None = None,
    mean_square: Float[Tensor, " hidden"] | None = None,
) -> Supervision:
    """What is known of a batch, where it is and where the processor reads it.

    Args:
        batch: The batch.
        teacher: The teacher's signal, if one was asked.
        mean_square: Of the channels of its hidden states, if they were asked for.

    Returns:
        The record.
    """
    return Supervision(
        student_tokens=batch.student,
        teacher_tokens=batch.teacher,
        chunk_mask=batch.chunk_mask,
        chunk_ends_run=batch.chunk_ends_run,
        target_mask=batch.student_targets,
        own_rows=batch.own_rows,
        optional_teacher=teacher,
        optional_mean_square=mean_square,
        optional_host=None if batch.host is batch else supervision(batch.host),
    )


def _mean_square(
    teacher: Teacher,
    batches: Sequence[DistillBatch],
    signals: Sequence[ModelSignal],
    reduce: Sum,
    device: torch.device,
) -> Float[Tensor, " hidden"]:
    """Mean square of each channel of a teacher at the ends of all chunks of the step."""
    squares = torch.zeros(teacher.hidden_size, device=device)
    chunks = torch.zeros((), device=device)
    for batch, signal in zip(batches, signals, strict=True):
        chunks_alone = batch.chunk_mask.unsqueeze(-1)
        squares += (signal.hidden.square() * chunks_alone).sum(dim=(0, 1))
        chunks += batch.chunk_mask.sum()
    return reduce(squares) / reduce(chunks).clamp_min(1.0)
