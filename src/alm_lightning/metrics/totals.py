"""Figures of an evaluation: exact totals over all batches and ranks, divided once at the end."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from alm_lightning.data.batch import DistillBatch
from alm_lightning.likelihood.signal import SideSignal

FIELDS = (
    "bytes",
    "student_nats",
    "teacher_nats",
    "chunks",
    "chunk_difference_nats",
    "student_tokens",
    "teacher_tokens",
)


def batch_totals(
    batch: DistillBatch, student: SideSignal, teacher: SideSignal
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
    # windows consist of whole chunks, so every content token lies in one
    difference = (teacher.chunk_logprobs - student.chunk_logprobs).abs()[content]

    def nats(side: SideSignal, is_content: Tensor) -> Tensor:
        return -side.token_logprobs.double()[is_content].sum()

    values = {
        "bytes": batch.num_bytes.sum(),
        "student_nats": nats(student, batch.student_content),
        "teacher_nats": nats(teacher, batch.teacher_content),
        "chunks": content.sum(),
        "chunk_difference_nats": difference.double().sum(),
        "student_tokens": batch.student_content.sum(),
        "teacher_tokens": batch.teacher_content.sum(),
    }
    return torch.stack([values[name].double() for name in FIELDS])


def figures(totals: Float[Tensor, " field"]) -> dict[str, float]:
    """The figures that a person reads.

    Args:
        totals: Sums of `batch_totals` over all batches and ranks.

    Returns:
        Bits per byte of both models, mean |log p_T - log p_S| per chunk in nats, tokens per chunk,
        mean chunk length in bytes, number of chunks and bytes.
    """
    total = dict(zip(FIELDS, totals.tolist(), strict=True))
    num_bytes, chunks = max(total["bytes"], 1.0), max(total["chunks"], 1.0)
    return {
        "bits_per_byte_student": total["student_nats"] / math.log(2) / num_bytes,
        "bits_per_byte_teacher": total["teacher_nats"] / math.log(2) / num_bytes,
        "chunk_difference": total["chunk_difference_nats"] / chunks,
        "chunks": total["chunks"],
        "bytes": total["bytes"],
        "bytes_per_chunk": total["bytes"] / chunks,
        "student_tokens_per_chunk": total["student_tokens"] / chunks,
        "teacher_tokens_per_chunk": total["teacher_tokens"] / chunks,
    }
