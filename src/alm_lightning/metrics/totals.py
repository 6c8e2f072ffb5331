"""Figures of an evaluation: exact totals over all batches and ranks, divided once at the end."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from alm_lightning.data.batch import DistillBatch
from alm_lightning.data.windows import DATA_REASONS
from alm_lightning.likelihood.signal import ModelSignal

OUTSIDE = tuple(f"outside_bytes_{reason}" for reason in DATA_REASONS)
RATIOS = (
    "bits_per_byte_student",
    "bits_per_byte_teacher",
    "chunk_difference",
    "bytes_per_chunk",
    "student_tokens_per_chunk",
    "teacher_tokens_per_chunk",
    "coverage",
    "rewritten_share",
)
FIELDS = (
    "bytes",
    "student_nats",
    "teacher_nats",
    "chunks",
    "chunk_difference_nats",
    "student_tokens",
    "teacher_tokens",
    "rewritten_bytes",
    *OUTSIDE,
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
    return _ratios([totals], [totals]) | _counts(totals)


def mean_figures(
    each: Sequence[Float[Tensor, " field"]], shared: Sequence[Float[Tensor, " field"]]
) -> dict[str, float]:
    r"""The figures beside several teachers: the weighted mean of those beside each.

    .. math:: \sum_k \frac{\sum_d w_k(d)\, x_k(d)}{\sum_d n_k(d)}

    with the share w of a teacher k in a document d. As in the mean of losses, a teacher's figure is
    over all of its chunks or bytes n, those of documents where it counts for nothing included.

    Args:
        each: Of each teacher, sums of `batch_totals` over all batches and ranks.
        shared: The same with each batch counted by the teacher's share in it.

    Returns:
        As `figures` does. Numbers of chunks and bytes are no means: they are those of the teacher
        with the fewest chunks, the first of these.
    """
    fewest = min(each, key=lambda totals: totals[FIELDS.index("chunks")].item())
    return _ratios(shared, each) | _counts(fewest)


def _ratios(
    above: Sequence[Float[Tensor, " field"]], below: Sequence[Float[Tensor, " field"]]
) -> dict[str, float]:
    """The sum of ratios, one a teacher, of totals above to totals below the line."""
    found = dict.fromkeys(RATIOS, 0.0) | {"coverage": 1.0}
    for some, all_ in zip(above, below, strict=True):
        part, whole = _named(some), _named(all_)
        num_bytes, chunks = max(whole["bytes"], 1.0), max(whole["chunks"], 1.0)
        content = max(_content_bytes(whole), 1.0)
        found["bits_per_byte_student"] += part["student_nats"] / math.log(2) / num_bytes
        found["bits_per_byte_teacher"] += part["teacher_nats"] / math.log(2) / num_bytes
        found["chunk_difference"] += part["chunk_difference_nats"] / chunks
        found["bytes_per_chunk"] += part["bytes"] / chunks
        found["student_tokens_per_chunk"] += part["student_tokens"] / chunks
        found["teacher_tokens_per_chunk"] += part["teacher_tokens"] / chunks
        # of nothing, nothing is left out
        in_chunks = part["bytes"] + part["outside_bytes_untrained"]
        found["coverage"] -= (_content_bytes(part) - in_chunks) / content
        found["rewritten_share"] += part["rewritten_bytes"] / content
    return found


def _counts(totals: Float[Tensor, " field"]) -> dict[str, float]:
    total = _named(totals)
    return {name: total[name] for name in ("chunks", "bytes", *OUTSIDE)}


def _named(totals: Float[Tensor, " field"]) -> dict[str, float]:
    return dict(zip(FIELDS, totals.tolist(), strict=True))


def _content_bytes(total: dict[str, float]) -> float:
    return total["bytes"] + sum(total[name] for name in OUTSIDE)


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
