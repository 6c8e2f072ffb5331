"""Rounds of assisted generation: how many tokens were drafted, and how many of them are kept."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel
from transformers.generation.candidate_generator import CandidateGenerator

MakeGenerator = Callable[..., CandidateGenerator]
"""Makes what drafts, from the arguments of transformers' `_get_candidate_generator`."""


@dataclass
class Rounds:
    """What assisted generation did, a round for each forward pass of the target.

    Attributes:
        drafted: Tokens that were drafted, by round.
        accepted: Those of them that are in the text, by round. The token that the target adds
            after them is not one of them.
    """

    drafted: list[int] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)


class Counting(CandidateGenerator):
    """Any candidate generator of transformers, with its rounds counted.

    transformers asks a generator for candidates, has the target read them, and hands the text with
    the tokens that it kept to `update_candidate_strategy`. What is kept of a draft are the tokens
    up to the first one that differs. (Its own `num_matches` is one less where a text ends with a
    drafted token.)

    Args:
        generator: What drafts.
        rounds: Where rounds are added.
    """

    def __init__(self, generator: CandidateGenerator, rounds: Rounds):
        self.generator, self.rounds = generator, rounds
        self.requires_model_outputs = generator.requires_model_outputs
        self._start, self._candidates = 0, []

    def get_candidates(
        self, input_ids: Int[Tensor, "batch pos"], **kwargs: Any
    ) -> tuple[Int[Tensor, "batch new_pos"], Float[Tensor, "batch candidate vocab"] | None]:
        """The text with a draft after it, and the draft's logits where there are some."""
        ids, logits = self.generator.get_candidates(input_ids, **kwargs)
        self._start = input_ids.shape[1]
        self._candidates = ids[0, self._start :].tolist()
        return ids, logits

    def update_candidate_strategy(
        self,
        input_ids: Int[Tensor, "batch pos"],
        scores: Float[Tensor, "batch new_pos vocab"],
        num_matches: int,
    ) -> None:
        """Counts what the target kept of the last draft."""
        kept = input_ids[0, self._start :].tolist()
        self.rounds.drafted.append(len(self._candidates))
        self.rounds.accepted.append(num_equal(self._candidates, kept))
        self.generator.update_candidate_strategy(input_ids, scores, num_matches)


def num_equal(first: list[int], other: list[int]) -> int:
    """How many tokens two lists have in common, from the first on.

    >>> num_equal([5, 6, 7], [5, 6, 8, 9])
    2
    """
    pairs = enumerate(zip(first, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(first), len(other)))


@contextmanager
def counted_rounds(target: PreTrainedModel, make: MakeGenerator | None = None) -> Iterator[Rounds]:
    """Counts the rounds of assisted generation by a model.

    Args:
        target: The model that generates.
        make: What makes the candidate generator; None for what transformers chooses by the
            arguments of `generate`.

    Yields:
        The rounds of one call of `generate`.

    Raises:
        RuntimeError: `generate` has drafted nothing, since this version of transformers makes
            candidate generators elsewhere.
    """
    rounds = Rounds()
    chosen = target._get_candidate_generator if make is None else make

    def counting(*args: Any, **kwargs: Any) -> Counting:
        return Counting(chosen(*args, **kwargs), rounds)

    # the instance's attribute, before the method of its class
    object.__setattr__(target, "_get_candidate_generator", counting)
    try:
        yield rounds
    finally:
        object.__delattr__(target, "_get_candidate_generator")
    if not rounds.drafted:
        raise RuntimeError(
            "transformers has generated without a candidate generator that can be counted. This "
            "harness was made for transformers 5.24: install that version."
        )
