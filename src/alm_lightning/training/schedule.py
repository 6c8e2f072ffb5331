"""Learning rate over a run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LinearWarmupDecay:
    """A factor on the peak learning rate: linear from 0 to 1, then linear to 0.

    Attributes:
        warmup_share: Share of the steps that the warm-up takes; the published recipe: 2k of 20k.
        num_steps: Optimizer steps of the run.
    """

    warmup_share: float
    num_steps: int

    def __post_init__(self) -> None:
        """Refuses a share that leaves no step to train in."""
        if not 0 <= self.warmup_share < 1:
            raise ValueError(
                f"schedule.warmup_share is {self.warmup_share}: expected a share in [0, 1)."
            )

    def __call__(self, step: int) -> float:
        """The factor of one step.

        Args:
            step: Optimizer steps already done.

        Returns:
            A factor in [0, 1].

        Example:
            >>> schedule = LinearWarmupDecay(warmup_share=0.5, num_steps=4)
            >>> [schedule(step) for step in range(4)]
            [0.5, 1.0, 1.0, 0.5]
        """
        warmup = round(self.warmup_share * self.num_steps)
        # the first step is to move, and so is the last
        rising = (step + 1) / warmup if warmup else 1.0
        falling = (self.num_steps - step) / max(self.num_steps - warmup, 1)
        return max(min(rising, falling, 1.0), 0.0)
