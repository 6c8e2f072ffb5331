"""The order of a run: the windows of each optimizer step, from the seed and the step alone."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from torch.utils.data import Sampler


@dataclass(frozen=True)
class Steps:
    """The optimizer steps that are to be done, and which share of them is this rank's.

    Attributes:
        batch_size: Sequences of an optimizer step, over all ranks.
        first_step: The step to start with: the number of steps already done.
        num_steps: The step to stop before.
        seed: Seed of the order.
        rank: Which process this is.
        world_size: How many processes there are.
    """

    batch_size: int
    first_step: int
    num_steps: int
    seed: int
    rank: int
    world_size: int

    def __post_init__(self) -> None:
        """Refuses a step that ranks can't share."""
        check_shares(self.batch_size, self.world_size)

    @property
    def num_items(self) -> int:
        """Sequences of a step on this rank."""
        return self.batch_size // self.world_size


def check_shares(batch_size: int, world_size: int) -> None:
    """Refuses a step that ranks can't share.

    Args:
        batch_size: Sequences of an optimizer step, over all ranks.
        world_size: How many processes there are.

    Raises:
        ValueError: The ranks would have shares of different sizes.
    """
    if batch_size % world_size:
        raise ValueError(
            f"budget.batch_size={batch_size} sequences can't be shared by {world_size} processes "
            f"evenly. Take a multiple of {world_size}."
        )


class StepSampler(Sampler[list[int]]):
    """The windows of each optimizer step, on this rank.

    The order is a function of the seed and the step, so that a resumed run sees what the unbroken
    one would have seen, with any number of workers. Each pass over the data is a new permutation;
    a step may reach over the end of a pass.

    Args:
        steps: Which steps, and which rank's share of them.
        num_items: Size of the data set.
    """

    def __init__(self, steps: Steps, *, num_items: int):
        self.steps, self.num_items = steps, num_items

    def __iter__(self) -> Iterator[list[int]]:
        """Indices of each step, for this rank."""
        permutations: dict[int, Int[np.ndarray, " item"]] = {}
        steps = self.steps
        for step in range(steps.first_step, steps.num_steps):
            positions = np.arange(step * steps.batch_size, (step + 1) * steps.batch_size)
            passes, places = np.divmod(positions, self.num_items)
            # a pass that is over is never needed again
            permutations = {
                number: permutations[number] if number in permutations else self._order(number)
                for number in np.unique(passes).tolist()
            }
            indices = [
                int(permutations[number][place])
                for number, place in zip(passes.tolist(), places.tolist(), strict=True)
            ]
            yield indices[steps.rank :: steps.world_size]

    def _order(self, pass_number: int) -> Int[np.ndarray, " item"]:
        """The permutation of one pass over the data."""
        return np.random.default_rng([self.steps.seed, pass_number]).permutation(self.num_items)
