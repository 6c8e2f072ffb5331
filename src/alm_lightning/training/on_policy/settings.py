"""How many sequences of a step are the student's own answers, and how they are sampled."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

from alm_lightning.training.on_policy.engines import EngineSettings, TransformersSettings


@dataclass(frozen=True, kw_only=True)
class OnPolicy:
    """Settings of training on the student's own answers.

    Attributes:
        share: Share of a step's sequences, once it is reached.
        begins: Share of the run's steps that come before the first answer.
        rises: Share of the run's steps in which the share rises from 0, evenly; 0: at once.
        temperature: Of the distribution that is sampled from; 1 is the student's own.
        top_p: Mass of the likeliest tokens that are sampled from, in (0, 1].
        max_new_tokens: The most tokens of an answer.
        every: For how many steps answers are sampled at once; the oldest are one step less old.
        batch_size: Answers that are sampled together.
        prompt_bytes: How much of the start of a plain text is given to be continued.
        engine: What samples.

    Raises:
        ValueError: A setting makes no sense.
    """

    share: float | int
    begins: float | int
    rises: float | int
    temperature: float | int
    top_p: float | int
    max_new_tokens: int
    every: int
    batch_size: int
    prompt_bytes: int
    # the one setting with a value of its own: it is what samples wherever nothing else is installed
    engine: EngineSettings = field(default_factory=TransformersSettings)

    def __post_init__(self) -> None:
        """Refuses settings that make no sense."""
        checks: tuple[tuple[str, type[Real], Callable[[Any], bool], str], ...] = (
            ("share", Real, lambda n: 0 <= n <= 1, "a share in [0, 1]; 0 samples nothing"),
            ("begins", Real, lambda n: 0 <= n < 1, "a share of the run's steps in [0, 1)"),
            ("rises", Real, lambda n: 0 <= n <= 1, "a share of the run's steps in [0, 1]"),
            ("temperature", Real, lambda n: 0 < n < math.inf, "a number above 0, 1 as a rule"),
            ("top_p", Real, lambda n: 0 < n <= 1, "a share in (0, 1]"),
            ("max_new_tokens", Integral, lambda n: n >= 1, "a whole number of at least 1"),
            ("every", Integral, lambda n: n >= 1, "a whole number of at least 1 step"),
            ("batch_size", Integral, lambda n: n >= 1, "a whole number of at least 1 answer"),
            ("prompt_bytes", Integral, lambda n: n >= 4, "at least 4, as one character may have"),
        )
        for name, kind, is_right, expected in checks:
            value = getattr(self, name)
            # Python takes True for 1
            if isinstance(value, bool) or not isinstance(value, kind) or not is_right(value):
                raise ValueError(f"on_policy.{name} is {value!r}: expected {expected}.")

    def share_at(self, progress: float) -> float:
        """Share of the sequences of a step that are answers.

        Args:
            progress: Share of the run's steps that are done.

        Returns:
            A share.
        """
        if progress < self.begins:
            return 0.0
        if not self.rises:
            return float(self.share)
        return float(self.share) * min((progress - self.begins) / self.rises, 1.0)
