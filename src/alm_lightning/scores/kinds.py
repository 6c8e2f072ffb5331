"""What a store may hold of each token, and what objectives need of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from alm_lightning.objectives.objective import Objective

ALM, NEXT_BYTE, TOP_K, HIDDEN = "alm", "next_byte", "top_k", "hidden"
KINDS = (ALM, NEXT_BYTE, TOP_K, HIDDEN)
DTYPES = {"float16": np.float16, "float32": np.float32}


@dataclass(frozen=True)
class Kinds:
    """What a store holds.

    Attributes:
        kinds: Names out of `KINDS`: ``alm``, two numbers a token, is always there; ``next_byte``,
            the distribution of the byte after each prefix of each token; ``top_k``, the likeliest
            tokens; ``hidden``, the last hidden states.
        top: How many likeliest tokens ``top_k`` has; null for all.
        dtype: Of ``next_byte`` and ``hidden``: ``float16`` or ``float32``. Log-probabilities are
            always float32.
        least_share: Bytes of ``next_byte`` that are less likely than this, where the token does not
            end, are left out, and their mass is shared by the others; the likeliest always stays.
    """

    kinds: tuple[str, ...]
    top: int | None
    dtype: str
    least_share: float

    def __post_init__(self) -> None:
        """Refuses what is not known.

        Raises:
            ValueError: A kind, the type or a number is not what is expected.
        """
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown:
            raise ValueError(
                f"scores.kinds has {unknown}: expected names out of {list(KINDS)}. alm is always "
                "there; scores.kinds=[next_byte,hidden] is what the default objective reads."
            )
        if self.dtype not in DTYPES:
            raise ValueError(f"scores.dtype is {self.dtype!r}: expected one of {list(DTYPES)}.")
        if self.top is not None and self.top < 1:
            raise ValueError(f"scores.top is {self.top}: expected at least 1 token, or null: all.")
        if not 0 <= self.least_share < 0.5:
            raise ValueError(
                f"scores.least_share is {self.least_share}: expected a probability of at least 0 "
                "and below 0.5; 0 keeps every byte."
            )

        # equal stores have equal settings: what nothing reads is as if it were not given
        kinds = tuple(kind for kind in KINDS if kind != ALM and kind in self.kinds)
        object.__setattr__(self, "kinds", kinds)
        if TOP_K not in kinds:
            object.__setattr__(self, "top", None)
        if NEXT_BYTE not in kinds:
            object.__setattr__(self, "least_share", 0.0)
        if NEXT_BYTE not in kinds and HIDDEN not in kinds:
            object.__setattr__(self, "dtype", "float32")

    @property
    def has_all_masses(self) -> bool:
        """Whether no mass of a byte was left out or rounded to 0."""
        return self.least_share == 0 and self.dtype == "float32"

    def __contains__(self, kind: str) -> bool:
        """Whether a kind is there."""
        return kind == ALM or kind in self.kinds


def check_kinds(there: Kinds, terms: Mapping[str, Objective], path: str) -> None:
    """Refuses an objective that reads more of the teacher than a store holds.

    Args:
        there: What it holds.
        terms: The terms of the objective, by name.
        path: Where it is, for the error.

    Raises:
        ValueError: A term reads something else.
    """
    for name, term in terms.items():
        if not term.needs_teacher:
            continue
        if term.needs_hidden and HIDDEN not in there:
            raise _missing(name, (HIDDEN,), there, path)
        if term.needs_distributions:
            serving = term.distribution_kinds
            if not serving:
                raise ValueError(
                    f"objective.{name} ({type(term).__name__}) reads more of the teacher than a "
                    "store can hold. Take another objective, or load the teacher itself."
                )
            if not any(kind in there for kind in serving):
                raise _missing(name, serving, there, path)
            if term.needs_all_masses and NEXT_BYTE in there and not there.has_all_masses:
                raise ValueError(
                    f"objective.{name} reads the teacher's least masses as well, and the store "
                    f"{path} lacks those below {there.least_share} or has them in {there.dtype}. "
                    "Score the corpus with scores.least_share=0 scores.dtype=float32, or take "
                    f"objective.{name}.divergence=kl."
                )


def _missing(name: str, kinds: Collection[str], there: Kinds, path: str) -> ValueError:
    have = [ALM, *there.kinds]
    return ValueError(
        f"objective.{name} needs scores of the kind {' or '.join(kinds)}, and the store {path} has "
        f"{', '.join(have)}. Score the corpus with "
        f"scores.kinds=[{','.join([*(k for k in have if k != ALM), next(iter(kinds))])}] into "
        "another scores.path, or take an objective that needs less, such as alm_next_token."
    )
