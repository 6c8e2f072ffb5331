"""Settings that are numbers: checked before anything is read, and before a library does."""

import math
from numbers import Real

from omegaconf import DictConfig, OmegaConf

WHOLE = {
    "seed": 0,
    "num_workers": 0,
    "sample_prompts": 0,
    "sample_bytes": 1,
    "budget.steps": 0,
    "budget.batch_size": 1,
    "budget.micro_batch_size": 1,
    "budget.student_length": 1,
    "budget.teacher_length": 1,
    "budget.evaluation_windows": 1,
    "budget.validate_every": 1,
    "budget.checkpoint_every": 0,
}
"""Whole numbers, and the least that each may be."""
ABOVE_ZERO = {"budget.learning_rate": 3e-4, "gradient_clip": 1.0}
"""Numbers above 0, and one for example."""
MAY_BE_NULL = ("budget.validate_every", "budget.checkpoint_every", "gradient_clip")


def check_numbers(cfg: DictConfig) -> None:
    """Refuses settings that are no numbers, or too small.

    Args:
        cfg: The whole configuration.

    Raises:
        ValueError: A setting is not what is expected of it.
    """
    for key, least in WHOLE.items():
        value = OmegaConf.select(cfg, key)
        if value is None and key in MAY_BE_NULL:
            continue
        # Python takes True for 1
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{key} is {value!r}: expected a whole number of at least {least}.")
    for key, example in ABOVE_ZERO.items():
        value = OmegaConf.select(cfg, key)
        if value is None and key in MAY_BE_NULL:
            continue
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < math.inf:
            raise ValueError(f"{key} is {value!r}: expected a number above 0, such as {example}.")
