"""Figures of an evaluation: exact totals over all batches and ranks, divided once at the end."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from alm_lightning.data.batch import DistillBatch
from alm_lightning.data.windows import DATA_REASONS
from alm_lightning.likelihood.signal import ModelSignal

FIELDS = (
    "bytes",
    "student_nats",
    "teacher_nats",
    "chunks",
    "chunk_difference_nats",
    "student_tokens",
    "teacher_tokens",
    "rewritten_bytes",
    *(f"outside_bytes_{reason}" for reason in DATA_REASONS),
)


def batch_totals(
    batch: DistillBatch, student: ModelSignal, teacher: ModelSignal
) -> Float[Tensor, " field"]:
    """Everything that the figures are made of, for one batch.

    Args:
        batch: The batch.
        student: The student's side of the signal.
        teacher: The teacher's side.

    Returns:
        One float64 total for each of `FIELDS`.
    """
    content = batch.chunk_mask & ~batch.chunk_is_structure
    student_content = batch.content_of(batch.student)
    teacher_content = batch.content_of(batch.teacher)
    difference = (teacher.chunk_logprobs - student.chunk_logprobs).abs()[content]

    def nats(side: ModelSignal, is_content: Tensor) -> Tensor:
        return -side.token_logprobs.double()[is_content].sum()

    values = {
        "bytes": batch.num_bytes.sum(),
        "student_nats": nats(student, student_content),
        "teacher_nats": nats(teacher, teacher_content),
        "chunks": content.sum(),
        "chunk_difference_nats": difference.double().sum(),
        "student_tokens": student_content.sum(),
        "teacher_tokens": teacher_content.sum(),
        "rewritten_bytes": batch.rewritten_bytes.sum(),
    }
    outside = batch.outside_bytes.sum(dim=0).unbind()
    values |= {f"outside_bytes_{r}": n for r, n in zip(DATA_REASONS, outside, strict=True)}
    return torch.stack([values[name].double() for name in FIELDS])


def figures(totals: Float[Tensor, " field"]) -> dict[str, float]:
    """The figures that a person reads.

    Args:
        totals: Sums of `batch_totals` over all batches and ranks.

    Returns:
        Bits per byte of both models over what is trained on, mean |log p_T - log p_S| per chunk in
        nats, tokens per chunk, mean chunk length in bytes, number of chunks and bytes; bytes
        outside trained chunks by reason, the share of all content bytes that lies in chunks
        (those that are not to be trained on included), and the share that a normaliser changed.
    """
    total = dict(zip(FIELDS, totals.tolist(), strict=True))
    num_bytes, chunks = max(total["bytes"], 1.0), max(total["chunks"], 1.0)
    outside = {name: total[name] for name in FIELDS if name.startswith("outside_bytes_")}
    all_bytes = total["bytes"] + sum(outside.values())
    in_chunks = total["bytes"] + total["outside_bytes_untrained"]
    return {
        "bits_per_byte_student": total["student_nats"] / math.log(2) / num_bytes,
        "bits_per_byte_teacher": total["teacher_nats"] / math.log(2) / num_bytes,
        "chunk_difference": total["chunk_difference_nats"] / chunks,
        "chunks": total["chunks"],
        "bytes": total["bytes"],
        "bytes_per_chunk": total["bytes"] / chunks,
        "student_tokens_per_chunk": total["student_tokens"] / chunks,
        "teacher_tokens_per_chunk": total["teacher_tokens"] / chunks,
        # of nothing, nothing is left out
        "coverage": in_chunks / all_bytes if all_bytes else 1.0,
        "rewritten_share": total["rewritten_bytes"] / max(all_bytes, 1.0),
        **outside,
    }


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
