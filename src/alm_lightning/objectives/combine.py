"""Balancing: how much each term of the loss counts."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

VANISHED = 1e-6
"""A gradient below this share of the largest one is only rounding error."""


class Balance(nn.Module):
    """Weights for named terms of a loss.

    Attributes:
        compares_gradients: Whether `forward` ever wants the norm of each term's gradient.
        needs_all_terms: Whether it wants terms as well that have faded out.
        compares_losses: Whether it asks how far each loss has fallen, which must be a distance.
    """

    compares_gradients: ClassVar[bool] = True
    needs_all_terms: ClassVar[bool] = False
    compares_losses: ClassVar[bool] = False

    @property
    def needs_norms(self) -> bool:
        """Whether `forward` wants them in the step that comes."""
        return self.compares_gradients

    def setup(self, names: Sequence[str]) -> None:
        """Gets the names of the terms, in the order of the objective, before the first step."""

    def forward(
        self, losses: Mapping[str, Float[Tensor, ""]], norms: Mapping[str, Float[Tensor, ""]]
    ) -> dict[str, Float[Tensor, ""]]:
        """The weight of each term in this step.

        Args:
            losses: Value of each term, over the whole step; of no meaning unless `needs_norms`.
            norms: Norm of each term's gradient at the last transformer layer; empty
                unless `needs_norms`.

        Returns:
            One weight a term.
        """
        raise NotImplementedError


class GradMag(Balance):
    """Each term weighted by the inverse of its gradient's norm; the weights sum to one.

    With fixed weights the paper's ALM + next-token scores like next-token alone (52.0), with
    GradMag 55.4 (Gemma2 to Qwen2's tokenizer, 5k steps; arXiv:2503.20083).
    """

    def forward(
        self, losses: Mapping[str, Float[Tensor, ""]], norms: Mapping[str, Float[Tensor, ""]]
    ) -> dict[str, Float[Tensor, ""]]:
        """The weight of each term in this step; 0 for a term without a gradient.

        ALM is one where there is no chunk, or chunks are so long that both likelihoods are 0.
        """
        # in one order on all ranks, whatever the order of `norms`
        stacked = torch.stack([norms[name] for name in losses])
        # the inverse of a gradient that has vanished would be all of the sum
        alive = stacked > VANISHED * stacked.max()
        inverse = torch.where(alive, stacked, torch.inf).reciprocal()
        shares = inverse / inverse.sum().clamp_min(torch.finfo(inverse.dtype).tiny)
        return dict(zip(losses, shares, strict=True))


class GradNorm(Balance):
    """Learned weights: terms that have fallen less far get more gradient.

    Reference: Chen et al. (2018), "GradNorm: Gradient Normalization for Adaptive Loss Balancing in
    Deep Multitask Networks", arXiv:1711.02257. Adam on the weights, which are rescaled to sum to
    one.

    Args:
        alpha: How strongly terms that lag behind are pulled; 0 equalises norms alone.
        lr: Learning rate of the weights.
    """

    weights: Float[Tensor, " term"]
    first_losses: Float[Tensor, " term"]
    moments: Float[Tensor, "2 term"]
    steps: Float[Tensor, ""]
    needs_all_terms: ClassVar[bool] = True
    compares_losses: ClassVar[bool] = True

    def __init__(self, *, alpha: float, lr: float):
        super().__init__()
        self.alpha, self.lr = alpha, lr

    def setup(self, names: Sequence[str]) -> None:
        """Equal weights to start with, and no history."""
        terms = len(names)
        self.register_buffer("weights", torch.full((terms,), 1.0 / terms))
        self.register_buffer("first_losses", torch.zeros(terms))
        self.register_buffer("moments", torch.zeros(2, terms))
        self.register_buffer("steps", torch.zeros(()))

    def forward(
        self, losses: Mapping[str, Float[Tensor, ""]], norms: Mapping[str, Float[Tensor, ""]]
    ) -> dict[str, Float[Tensor, ""]]:
        """The weight of each term in this step; learns from it for the next.

        Of a step without text, or without a gradient, there is nothing to learn.
        """
        values = torch.stack([losses[name].detach() for name in losses])
        gradient_norms = torch.stack([norms[name] for name in losses])
        # a term without units in the first step takes its first value later
        self.first_losses.copy_(torch.where(self.first_losses > 0, self.first_losses, values))
        used = self.weights.clone()
        tiny = torch.finfo(values.dtype).tiny
        rates = values / self.first_losses.clamp_min(tiny)
        weighted = used * gradient_norms
        targets = weighted.mean() * (rates / rates.mean().clamp_min(tiny)) ** self.alpha
        # asked where the numbers are: a device would have to be waited for
        is_told = (values.max() > 0) & (gradient_norms.max() > 0)
        # gradient of the sum of |w_i n_i - target_i| in w, the targets held fixed (section 3.2)
        self._adam((weighted - targets).sign() * gradient_norms, is_told)
        return dict(zip(losses, used, strict=True))

    def _adam(self, gradient: Float[Tensor, " term"], is_told: Bool[Tensor, ""]) -> None:
        """One step of Adam on the weights, which stay positive and sum to one; or none."""
        first_decay, second_decay = 0.9, 0.999
        steps = self.steps + 1
        squared = gradient.square()
        moments = torch.stack(
            [
                self.moments[0].lerp(gradient, 1 - first_decay),
                self.moments[1].lerp(squared, 1 - second_decay),
            ]
        )
        mean = moments[0] / (1 - first_decay**steps)
        scale = (moments[1] / (1 - second_decay**steps)).sqrt()
        # a weight at 0 would never get a gradient again
        weights = (self.weights - self.lr * mean / (scale + 1e-8)).clamp(min=1e-4)
        new = {"steps": steps, "moments": moments, "weights": weights / weights.sum()}
        for name, value in new.items():
            before = getattr(self, name)
            before.copy_(torch.where(is_told, value, before))


class Fixed(Balance):
    """Weights that are set once.

    Args:
        weights: One weight a term; those of other terms than the objective has are not read.
    """

    compares_gradients: ClassVar[bool] = False

    def __init__(self, *, weights: Mapping[str, float]):
        super().__init__()
        self.weights = dict(weights)
        self.names: Sequence[str] = list(weights)

    def setup(self, names: Sequence[str]) -> None:
        """Notes the terms; raises a ValueError unless each has a weight."""
        missing = [name for name in names if name not in self.weights]
        if missing:
            raise ValueError(
                f"Fixed: weights has {sorted(self.weights)}, but the objective's terms are "
                f"{list(names)}: give a weight for {missing}."
            )
        # the same weights serve runs of several objectives
        self.names = list(names)

    def forward(
        self, losses: Mapping[str, Float[Tensor, ""]], norms: Mapping[str, Float[Tensor, ""]]
    ) -> dict[str, Float[Tensor, ""]]:
        """The same weights in each step, of the terms that `setup` got."""
        del losses, norms
        return {name: torch.tensor(self.weights[name]) for name in self.names}


def faded(
    weights: Mapping[str, Float[Tensor, ""]],
    fades_by: Mapping[str, float | None],
    progress: float,
) -> dict[str, Float[Tensor, ""]]:
    """Weights of terms of which some fade out in the course of a run.

    The weight of such a term is multiplied by a factor that falls in a line from 1 to 0; then all
    are scaled, so that their sum stays the same.

    Args:
        weights: What the balance gives.
        fades_by: For each term by which share of the steps its weight is 0; None: it stays.
        progress: Share of the steps that are done.

    Returns:
        One weight a term.
    """
    if all(fades_by[name] is None for name in weights):
        return dict(weights)
    left = {}
    for name, weight in weights.items():
        end = fades_by[name]
        left[name] = weight if end is None else weight * max(0.0, 1.0 - progress / end)
    before, after = (torch.stack(list(each.values())).sum() for each in (weights, left))
    stays = torch.stack([w for name, w in weights.items() if fades_by[name] is None]).sum()
    # where no other term has weight in this step, none takes over
    scale = torch.where(stays > 0, before / after.clamp_min(torch.finfo(after.dtype).tiny), 1.0)
    return {name: weight * scale for name, weight in left.items()}
