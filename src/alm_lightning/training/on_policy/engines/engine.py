"""What an engine is: one call that samples answers, and settings that make it."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from alm_lightning.alignment.answer import Answer
from alm_lightning.models.pair import Scorer


@runtime_checkable
class Sampling(Protocol):
    """How answers are sampled, whoever samples: `OnPolicy` has it."""

    @property
    def temperature(self) -> float | int:
        """Of the distribution that is sampled from; 1 is the student's own."""
        ...

    @property
    def top_p(self) -> float | int:
        """Mass of the likeliest tokens that are sampled from, in (0, 1]."""
        ...

    @property
    def max_new_tokens(self) -> int:
        """The most tokens of an answer."""
        ...

    @property
    def batch_size(self) -> int:
        """Answers that are sampled together."""
        ...


@runtime_checkable
class Engine(Protocol):
    """Samples a student's answers."""

    def __call__(self, prompts: Sequence[Int[np.ndarray, " _"]], *, seed: int) -> list[Answer]:
        """An answer to each prompt, with the student's weights as they are now.

        Args:
            prompts: Token ids, none without a token.
            seed: Of the random numbers.

        Returns:
            Answers in the order of the prompts.
        """
        ...


@runtime_checkable
class EngineSettings(Protocol):
    """Settings of an engine, before there is a student."""

    def check(self, sampling: Sampling, *, accelerator: str, micro_batch_size: int | str) -> None:
        """Refuses a run that this engine can't sample for, before anything is loaded.

        Args:
            sampling: How answers are sampled.
            accelerator: Where the run computes, as Lightning names it.
            micro_batch_size: Sequences of a forward pass; ``auto`` for as many as fit.
        """
        ...

    def engine(self, student: Scorer, sampling: Sampling, *, max_length: int) -> Engine:
        """The engine of a run, which holds nothing large before its first call.

        Args:
            student: The student.
            sampling: How answers are sampled.
            max_length: The most tokens of a prompt and its answer together.

        Returns:
            The engine.
        """
        ...


def stop_ids_of(student: Scorer) -> list[int]:
    """The tokens that end an answer: those of the student's generation settings, or its EOS.

    Args:
        student: The student.

    Returns:
        Token ids.
    """
    stops = student.model.generation_config.eos_token_id
    if stops is None:
        stops = student.view.id_of("eos")
    return [stops] if isinstance(stops, int) else list(stops)


def answer_of(row: Int[np.ndarray, " pos"], stop_ids: Sequence[int]) -> Answer:
    """What was sampled, as an answer: up to the first stop token, without it.

    Args:
        row: Sampled token ids; what follows a stop is padding.
        stop_ids: The tokens that end an answer.

    Returns:
        The answer.
    """
    (stops,) = np.nonzero(np.isin(row, stop_ids))
    if not len(stops):
        return Answer(row, None)
    return Answer(row[: stops[0]], int(row[stops[0]]))
