"""How the next token is chosen, and how long a text may become."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from alm_lightning.evaluation.evaluated_model import BROKEN


@dataclass(frozen=True)
class Sampling:
    """Settings of generation.

    Attributes:
        max_new_tokens: The most tokens that are made; None for no limit of this kind.
        max_new_bytes: The most bytes that they spell, which is the same length for any tokenizer;
            None for no limit of this kind. One of both is needed.
        temperature: Of the distribution that is sampled from; 0 takes the likeliest token.
        top_p: Mass of the likeliest tokens that are sampled from, up to 1.
        seed: Of the random numbers.
    """

    max_new_tokens: int | None = None
    max_new_bytes: int | None = None
    temperature: float | int = 0.0
    top_p: float | int = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses settings that make no sense."""
        lengths = {name: getattr(self, name) for name in ("max_new_tokens", "max_new_bytes")}
        if all(length is None for length in lengths.values()):
            raise ValueError(
                "there is no length: expected max_new_tokens or max_new_bytes, at least 1."
            )
        for name, length in lengths.items():
            if length is not None and length < 1:
                raise ValueError(f"{name} is {length}: expected at least 1.")
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(
                f"temperature is {self.temperature}: expected 0 for the likeliest token, or more."
            )
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}: expected a share above 0, at most 1.")

    @property
    def most_tokens(self) -> int:
        """The most tokens to generate: each has at least one byte, or none."""
        limits = (self.max_new_tokens, self.max_new_bytes)
        return min(limit for limit in limits if limit is not None)


def check_logits(logits: Float[Tensor, "batch vocab"], name: str) -> None:
    """Refuses logits of which one is NaN; -inf stands for what can't come next."""
    if bool(logits.isnan().any()):
        raise ValueError(f"{name} gives logits that are not numbers (NaN): {BROKEN}.")
