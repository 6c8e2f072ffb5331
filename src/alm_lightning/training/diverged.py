"""The end of a run whose gradient is not finite."""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor


class Diverged(FloatingPointError):
    """The gradient of a step is not finite: the step was not taken, and the run ends.

    Args:
        step: The step, counted from 0.
        norm: Norm of its gradient.
        losses: Values of the terms.
    """

    def __init__(self, step: int, norm: float, losses: Mapping[str, Float[Tensor, ""]]):
        said = ", ".join(f"{name} {float(value):g}" for name, value in losses.items())
        super().__init__(
            f"the gradient of step {step} (counted from 0) has norm {norm}, with losses {said}: "
            "expected finite numbers. The step was not taken. Lower budget.learning_rate, or take "
            "trainer.precision=32-true."
        )
        self.step = step
