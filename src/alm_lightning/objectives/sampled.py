"""GradMag whose norms are measured in some steps alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from alm_lightning.objectives.combine import GradMag


class SampledGradMag(GradMag):
    """`GradMag` with a running mean of norms, which every n-th step measures.

    With several micro-batches a measurement takes a second forward pass over all of them. Where a
    step has only one, it takes a backward pass to the last matrix, and there is little to save.

    The first step measures. What is known, and how many steps ago it was measured, is in
    checkpoints.

    Args:
        every: Steps from one measurement to the next, 1 or more.
        decay: Weight of the norms before in the running mean, in [0, 1).
    """

    norms: Float[Tensor, " term"]

    def __init__(self, *, every: int, decay: float):
        super().__init__()
        if every < 1:
            raise ValueError(f"SampledGradMag: every is {every}: expected at least 1 step.")
        if not 0 <= decay < 1:
            raise ValueError(f"SampledGradMag: decay is {decay}: expected a share in [0, 1).")
        self.every, self.decay = every, decay
        # a plain number: a device would have to be waited for
        self.steps_since = 0

    def setup(self, names: Sequence[str]) -> None:
        """No norm is known yet."""
        self.names = list(names)
        self.register_buffer("norms", torch.zeros(len(self.names)))

    @property
    def needs_norms(self) -> bool:
        """Whether this step measures."""
        return self.steps_since == 0

    def forward(
        self, losses: Mapping[str, Float[Tensor, ""]], norms: Mapping[str, Float[Tensor, ""]]
    ) -> dict[str, Float[Tensor, ""]]:
        """The weight of each term that has a loss, by the mean of its norms so far."""
        for name, norm in norms.items():
            place = self.names.index(name)
            before = self.norms[place]
            # the first one is all that is known
            mean = torch.where(before > 0, torch.lerp(norm, before, self.decay), norm)
            # without a gradient there was nothing to measure: no chunk in this step, say
            self.norms[place] = torch.where(norm > 0, mean, before)
        self.steps_since = (self.steps_since + 1) % self.every
        known = {name: self.norms[self.names.index(name)] for name in losses}
        shares = super().forward(losses, known)
        # a first step without text has measured nothing: weights of 0 would silence the next ones
        is_known = torch.stack(list(known.values())).max() > 0
        equal = 1 / len(known)
        return {name: torch.where(is_known, share, equal) for name, share in shares.items()}

    def get_extra_state(self) -> dict[str, Any]:
        """What a checkpoint holds beside the norms."""
        return {"steps_since": self.steps_since}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.steps_since = int(state["steps_since"])
