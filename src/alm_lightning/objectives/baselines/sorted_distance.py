r"""L1 distance of two lists of probabilities, each sorted, without sorting them.

Let D(x) be how many more of the student's values than of the teacher's are x or larger. The i-th
largest values of the two lists differ wherever the counts do, so that

.. math:: \sum_i |s_{(i)} - t_{(i)}| = \int_0^\infty |D(x)| \, dx = \sum_v \sigma(v) \, v

over all values of both lists, where \sigma(v) is 1 or -1: what v does to |D| when values are taken
from the largest to the smallest. The signs are the gradient, too.

On a CPU values fall into buckets by the first bits of their floating-point form, whose order is
that of the numbers. Where D at the top of a bucket is larger than the bucket could undo, all signs
in it are known; only the values of the other buckets are sorted. They are few where the two models
differ: from logits to their gradient it takes a seventh of the time of `torch.sort`. Of two
lists that are the same up to a thousandth nearly all values are sorted, and it takes as long as
both sorts (measured: benchmarks/uld.py). An accelerator sorts.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Int8
from torch import Tensor
from torch.autograd.function import once_differentiable

BUCKET_BITS = 16
"""Bits after the sign that tell buckets apart: in float32 the exponent and 8 of the fraction. One
more or less costs up to a half more, for lists that differ much or little."""


def sorted_distance(
    student_probs: Float[Tensor, "row vocab"], teacher_probs: Float[Tensor, "row teacher_vocab"]
) -> Float[Tensor, " row"]:
    """Sum of |difference| of the largest values, the second largest, and so on.

    Args:
        student_probs: Values from 0 to 1, float32 or float64. Where one equals its counterpart, its
            gradient is any of -1, 0 and 1.
        teacher_probs: The same; the shorter list is filled up with zeros.

    Returns:
        One distance a row, from 0 to the sum of both lists.

    Example:
        >>> import torch
        >>> sorted_distance(torch.tensor([[0.25, 0.75]]), torch.tensor([[0.5, 0.25, 0.25]]))
        tensor([0.5000])
    """
    return _SortedDistance.apply(student_probs, teacher_probs)


class _SortedDistance(torch.autograd.Function):
    """The distance; what backward needs are its signs, a byte a value."""

    @staticmethod
    def forward(
        ctx: Any,
        student_probs: Float[Tensor, "row vocab"],
        teacher_probs: Float[Tensor, "row teacher_vocab"],
    ) -> Float[Tensor, " row"]:
        method = by_counting if student_probs.device.type == "cpu" else by_sorting
        # values of two types have no order by their bits
        dtype = torch.promote_types(student_probs.dtype, teacher_probs.dtype)
        distance, *signs = method(
            student_probs.detach().to(dtype), teacher_probs.detach().to(dtype)
        )
        ctx.save_for_backward(*signs)
        return distance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, " row"]) -> tuple[Tensor | None, ...]:
        sides = zip(ctx.saved_tensors, ctx.needs_input_grad, strict=True)
        return tuple(signs * grad[:, None] if needed else None for signs, needed in sides)


def by_sorting(
    student_probs: Float[Tensor, "row vocab"], teacher_probs: Float[Tensor, "row teacher_vocab"]
) -> tuple[Float[Tensor, " row"], Int8[Tensor, "row vocab"], Int8[Tensor, "row teacher_vocab"]]:
    """The distance and the signs of both sides' values, from two sorts.

    Values that equal their counterparts have a sign of 0.
    """
    student, teacher = (p.sort(dim=1, descending=True) for p in (student_probs, teacher_probs))
    width = max(student_probs.shape[1], teacher_probs.shape[1])
    padded = [
        torch.nn.functional.pad(side.values, (0, width - side.values.shape[1]))
        for side in (student, teacher)
    ]
    difference = padded[0] - padded[1]
    signs = difference.sign().to(torch.int8)
    of_student, of_teacher = (
        sign[:, : order.shape[1]].scatter(1, order, sign[:, : order.shape[1]])
        for sign, order in ((signs, student.indices), (-signs, teacher.indices))
    )
    return difference.abs().sum(dim=1), of_student, of_teacher


def by_counting(
    student_probs: Float[Tensor, "row vocab"], teacher_probs: Float[Tensor, "row teacher_vocab"]
) -> tuple[Float[Tensor, " row"], Int8[Tensor, "row vocab"], Int8[Tensor, "row teacher_vocab"]]:
    """The distance and the signs of both sides' values, from counts, on a CPU."""
    sides = [probs.contiguous() for probs in (student_probs, teacher_probs)]
    signs = [torch.empty_like(probs, dtype=torch.int8) for probs in sides]
    distance = sides[0].new_empty(len(sides[0]))
    rows = zip(*(each.numpy() for each in (*sides, *signs)), strict=True)
    for index, (student, teacher, *row_signs) in enumerate(rows):
        row_signs[0][:], row_signs[1][:] = _row_signs(student, teacher)
        # while the row is in the cache
        parts = zip(row_signs, (student, teacher), strict=True)
        distance[index] = sum(float(sign.astype(row.dtype) @ row) for sign, row in parts)
    return distance, signs[0], signs[1]


def _row_signs(
    student: Float[np.ndarray, " vocab"], teacher: Float[np.ndarray, " teacher_vocab"]
) -> tuple[Int8[np.ndarray, " vocab"], Int8[np.ndarray, " teacher_vocab"]]:
    bits = [side.view(f"i{side.itemsize}") for side in (student, teacher)]
    # a nan may have a sign; the distance is nan then, whatever the signs are
    last = 2**BUCKET_BITS - 1
    shift = 8 * student.itemsize - 1 - BUCKET_BITS
    buckets = [((side >> shift) & last).astype(np.intp) for side in bits]
    num_buckets = 1 + max(side.max(initial=0) for side in buckets)
    counts = [np.bincount(side, minlength=num_buckets) for side in buckets]
    surplus = counts[0] - counts[1]
    ahead = _above(surplus)
    # 0: D may change its sign within the bucket (or no value lies in it)
    sure = (ahead >= counts[1]).astype(np.int8) - (ahead <= -counts[0])
    signs = [sure[buckets[0]], -sure[buckets[1]]]
    unsure = [np.flatnonzero(side == 0) for side in signs]
    # the teacher's bit puts it first among equals: all signs of equal lists are then alike, and
    # the gradient of what makes probabilities of logits is 0
    # (those of 1.0 leave one bit free)
    keys = [2 * side[ids] + bit for side, ids, bit in zip(bits, unsure, (0, 1), strict=True)]
    order = np.concatenate(keys).argsort()[::-1]
    step = np.where(order < len(unsure[0]), 1, -1)
    bucket = np.concatenate([side[ids] for side, ids in zip(buckets, unsure, strict=True)])[order]
    after = step.cumsum() + _above(np.where(sure == 0, 0, surplus))[bucket]
    resolved = np.empty(len(order), np.int8)
    resolved[order] = np.abs(after) - np.abs(after - step)
    signs[0][unsure[0]], signs[1][unsure[1]] = np.split(resolved, [len(unsure[0])])
    return signs[0], signs[1]


def _above(counts: Int[np.ndarray, " subset"]) -> Int[np.ndarray, " subset"]:
    """Sum over all buckets above each."""
    return counts[::-1].cumsum()[::-1] - counts
