"""How much two models disagree about one yes-or-no question, at any temperature.

A chunk has a likelihood under the teacher and one under the student: two coins. Their divergence
is a lower bound of the divergence of the whole distributions (data-processing inequality), and
needs no vocabulary.

Both terms of the Kullback-Leibler divergence are written so that they cannot cancel. For two
masses a and b,

    excess(a, b) = b - a - a log(b / a) = a (e^d - 1 - d),    d = log b - log a,

is at least 0 and exactly 0 where a = b; and since (q - p) + ((1-q) - (1-p)) = 0,

    KL(p || q) + KL(1-p || 1-q) = excess(p, q) + excess(1-p, 1-q).

For a temperature that grows without bound, tau (1-p) becomes -log p (at temperature 1) and the
first excess vanishes: the limit is excess(-log p, -log q).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


def binarised(
    teacher_logprobs: Float[Tensor, "*shape"],
    student_logprobs: Float[Tensor, "*shape"],
    *,
    temperature: float | int,
    kind: str = "kl",
) -> Float[Tensor, "*shape"]:
    r"""Divergence of two coins given the logs of their probabilities of heads, elementwise.

    With :math:`p = \exp(L_T / \tau)` and :math:`q = \exp(L_S / \tau)`:

    .. math:: f(p \Vert q) + f(1 - p \Vert 1 - q)

    At ``temperature=float("inf")`` this is the limit of :math:`\tau` times the divergence:
    :math:`(L_T - L_S) + L_T \log(L_S / L_T)` for ``"kl"``, the same with sides exchanged for
    ``"reverse_kl"``, and :math:`2 |L_T - L_S|` for ``"tvd"``.

    A probability that float arithmetic cannot tell from 1 is taken to be 1 - eps of the dtype, on
    both sides alike and at temperature 1: KL(p || 1) is infinite, but the 1 is only a rounding of
    something below it. The gradient there is that of the replacement, so that a student that is
    certain and wrong still has one.

    Reference: Minixhofer, Vulić and Ponti (2025), "Universal Cross-Tokenizer Distillation via
    Approximate Likelihood Matching", arXiv:2503.20083, the binarised f-divergence.

    Args:
        teacher_logprobs: Log-likelihoods of the teacher in nats, at most 0.
        student_logprobs: Log-likelihoods of the student in nats, at most 0.
        temperature: Above 0; published default 100, best published value 5.
        kind: ``"kl"`` (teacher to student), ``"reverse_kl"`` or ``"tvd"`` (the sum of both
            absolute differences, in probability and not in nats).

    Returns:
        At least 0, and exactly 0 where both sides are equal; in float32 (float64 where an input
        is), finite for log-likelihoods down to -1e4, as is its gradient.

    Raises:
        ValueError: If the temperature is not above 0, or the kind is unknown.

    Example:
        >>> teacher_logprobs = torch.tensor([-2.0, -0.5])
        >>> student_logprobs = torch.tensor([-5.0, -0.5])
        >>> binarised(teacher_logprobs, student_logprobs, temperature=1.0)
        tensor([0.2861, 0.0000])
        >>> binarised(teacher_logprobs, student_logprobs, temperature=float("inf"))
        tensor([1.1674, 0.0000])
    """
    if not temperature > 0:
        raise ValueError(
            f"temperature is {temperature}, expected a number above 0. Published values are 1 to "
            'float("inf"), 100 by default.'
        )
    if kind not in _KINDS:
        raise ValueError(f"kind is {kind!r}, expected one of {', '.join(map(repr, _KINDS))}.")
    is_double = torch.float64 in (teacher_logprobs.dtype, student_logprobs.dtype)
    dtype = torch.float64 if is_double else torch.float32
    teacher = _below_certain(teacher_logprobs.to(dtype), temperature)
    student = _below_certain(student_logprobs.to(dtype), temperature)
    if math.isinf(temperature):
        return _KINDS[kind].limit(teacher, student)
    return _KINDS[kind].at_temperature(teacher, student, temperature)


def _below_certain(
    logprobs: Float[Tensor, "*shape"], temperature: float | int
) -> Float[Tensor, "*shape"]:
    """The values themselves, or minus the resolution where they are above it.

    Steps of float32 just below a probability of 1 are eps / 2 wide: a log-likelihood above -eps is
    rounding noise. Bounding before the division by the temperature leaves every other value alone.
    """
    info = torch.finfo(logprobs.dtype)
    resolution = info.eps
    # what is left after the division must be a normal number, whose logarithm exists
    if math.isfinite(temperature):
        resolution = max(resolution, temperature * info.smallest_normal)
    # the difference is exactly 0 and carries the gradient; clamp would cut it off
    bounded = logprobs - logprobs.detach() - resolution
    return torch.where(logprobs < -resolution, logprobs, bounded)


def _log1mexp(logprobs: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """log(1 - exp(x)) for x below 0, each half of the range by the form that keeps its digits."""
    is_near = logprobs > -math.log(2)
    # the form that is not chosen sees a harmless value: its gradient would be nan * 0
    near = torch.where(is_near, logprobs, -1.0)
    far = torch.where(is_near, -1.0, logprobs)
    return torch.where(is_near, (-near.expm1()).log(), (-far.exp()).log1p())


class _Excess(torch.autograd.Function):
    """b - a - a log(b / a) of two masses given by their logs: at least 0, and 0 where a = b.

    The log of the ratio is an argument of its own, without a gradient, because the callers know it
    to more digits than the difference of the two logs has left when the masses are close.
    """

    @staticmethod
    def forward(
        ctx: Any,
        log_a: Float[Tensor, "*shape"],
        log_b: Float[Tensor, "*shape"],
        log_ratio: Float[Tensor, "*shape"],
    ) -> Float[Tensor, "*shape"]:
        """The form a (e^d - 1 - d), from its series where d is small and the terms would cancel."""
        ctx.save_for_backward(log_a, log_b, log_ratio)
        d = log_ratio
        # Horner's rule; the first term left out is below 1e-16 of the sum for |d| < 0.1
        series = torch.ones_like(d)
        for order in range(11, 2, -1):
            series = 1 + series * d / order
        small = d.square() / 2 * series
        excess = log_a.exp() * torch.where(d.abs() < 0.1, small, d.expm1() - d)
        # e^d overflows far above 0, where b itself does not
        return torch.where(d > 1, log_b.exp() - log_a.exp() * (1 + d), excess)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, "*shape"]) -> tuple[Tensor | None, ...]:
        """By log a: -a d. By log b: b - a, written as a product of the larger mass."""
        log_a, log_b, d = ctx.saved_tensors
        difference = torch.maximum(log_a, log_b).exp() * -(-d.abs()).expm1() * d.sign()
        return -grad * log_a.exp() * d, grad * difference, None


def _log_ratio(
    relative_change: Float[Tensor, "*shape"], difference: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """log(b / a) from (b - a) / a where that is small, else from the difference of the logs."""
    # near -1 log1p has few digits, far above 0 the change may have overflowed
    return torch.where(relative_change.abs() < 0.5, relative_change.log1p(), difference).detach()


def _kl(
    teacher: Float[Tensor, "*shape"], student: Float[Tensor, "*shape"], temperature: float | int
) -> Float[Tensor, "*shape"]:
    x, y = teacher / temperature, student / temperature
    # subtracted before the division rounds, which leaves close values all their digits
    d = ((student - teacher) / temperature).detach()
    rest_x, rest_y = _log1mexp(x), _log1mexp(y)
    # ((1-q) - (1-p)) / (1-p)
    rest_change = x.exp() * d.expm1() / x.expm1()
    rest_d = _log_ratio(rest_change, rest_y - rest_x)
    return _Excess.apply(x, y, d) + _Excess.apply(rest_x, rest_y, rest_d)


def _kl_limit(
    teacher: Float[Tensor, "*shape"], student: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    log_a, log_b = (-teacher).log(), (-student).log()
    return _Excess.apply(log_a, log_b, _log_ratio((student - teacher) / teacher, log_b - log_a))


def _tvd(
    teacher: Float[Tensor, "*shape"], student: Float[Tensor, "*shape"], temperature: float | int
) -> Float[Tensor, "*shape"]:
    """2 |p - q|: the two terms are equal."""
    larger = (torch.maximum(teacher, student) / temperature).exp()
    return -2 * larger * (-(student - teacher).abs() / temperature).expm1()


def _tvd_limit(
    teacher: Float[Tensor, "*shape"], student: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    return 2 * (student - teacher).abs()


Logprobs = Float[Tensor, "*shape"]


@dataclass(frozen=True)
class _Kind:
    """A divergence of log-likelihoods at a temperature, and its limit for high temperatures."""

    at_temperature: Callable[[Logprobs, Logprobs, float], Logprobs]
    limit: Callable[[Logprobs, Logprobs], Logprobs]


_KINDS = {
    "kl": _Kind(_kl, _kl_limit),
    "reverse_kl": _Kind(lambda x, y, tau: _kl(y, x, tau), lambda x, y: _kl_limit(y, x)),
    "tvd": _Kind(_tvd, _tvd_limit),
}

KINDS = tuple(_KINDS)
"""Names of the divergences that `binarised` knows."""
