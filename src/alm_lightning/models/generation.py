"""What sampling from a model needs, whoever samples: padding, the draw; and a model's settings."""

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

log = logging.getLogger(__name__)

SAMPLING_ONLY: Mapping[str, object] = {
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "min_p": None,
    "top_h": None,
}
"""Settings that count only where tokens are sampled, and the value of each that changes nothing."""
BEAMS_ONLY: Mapping[str, object] = {"early_stopping": False, "length_penalty": 1.0}
"""The same of several beams."""
CACHE_ONLY: Mapping[str, object] = {"cache_implementation": None, "cache_config": None}
"""The same of a cache."""


def left_padded(
    prompts: Sequence[Sequence[int]], pad_id: int
) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"]]:
    """Prompts as rows that all end at the last place, from where they are continued.

    Args:
        prompts: Token ids, none without a token.
        pad_id: Fills rows up.

    Returns:
        Ids, and 1 for each token that is not padding.
    """
    width = max(len(prompt) for prompt in prompts)
    ids = torch.tensor([[pad_id] * (width - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    return ids, mask


def drawn_ids(
    logits: Float[Tensor, "batch vocab"],
    *,
    temperature: float | int,
    top_p: float | int,
    generator: torch.Generator,
) -> Int[Tensor, " batch"]:
    """The next token of each row: the likeliest one, or one that is drawn.

    Args:
        logits: Of the next token.
        temperature: 0 for the likeliest token; 1 for the model's own distribution.
        top_p: Mass of the likeliest tokens that are drawn from, in (0, 1].
        generator: Random numbers, on the device of the logits.

    Returns:
        Token ids.
    """
    if temperature == 0:
        return logits.argmax(-1)
    probabilities = (logits.float() / temperature).softmax(-1)
    if top_p == 1:
        return torch.multinomial(probabilities, 1, generator=generator).squeeze(-1)
    ranked, order = probabilities.sort(dim=-1, descending=True)
    # a token stays while those before it have not enough, so the first one always does
    before = ranked.cumsum(-1) - ranked
    ranked = ranked.masked_fill(before >= top_p, 0.0)
    return order.gather(-1, torch.multinomial(ranked, 1, generator=generator)).squeeze(-1)


def only(
    ids: Int[Tensor, " batch"], logits: Float[Tensor, "batch vocab"]
) -> Float[Tensor, "batch vocab"]:
    """Logits of which nothing but some tokens can be drawn: -inf for all others.

    Args:
        ids: The token of each row.
        logits: What they are to stand for.

    Returns:
        Of the same size and type.
    """
    return torch.full_like(logits, -torch.inf).scatter_(1, ids[:, None], 0.0)


@contextmanager
def without_settings(model: PreTrainedModel) -> Iterator[None]:
    """Hides a model's own settings of generation, such as penalties, which would be added."""
    kept = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = kept


def usable(settings: GenerationConfig) -> GenerationConfig:
    """A copy of settings of generation, without those that have no effect.

    Many models are published with some, such as a temperature without ``do_sample``. transformers
    reads them, but does not write them once any setting was changed, as the ids of a student's
    special tokens are. Left out, they are what `generate` takes by default.

    Args:
        settings: Of a model; they are left as they are.

    Returns:
        The copy.
    """
    made = copy.deepcopy(settings)
    idle: dict[str, object] = {}
    if made.do_sample is not True:
        idle |= SAMPLING_ONLY
    if made.num_beams in (None, 1):
        idle |= BEAMS_ONLY
    if made.return_dict_in_generate is not True:
        idle |= dict.fromkeys(made.extra_output_flags, False)
    if made.use_cache is False:
        idle |= CACHE_ONLY
    dropped = {
        name: value
        for name, neutral in idle.items()
        if (value := getattr(made, name, None)) is not None and value != neutral
    }
    for name in dropped:
        setattr(made, name, None)
    if dropped:
        log.warning(
            "generation settings of the student's model have no effect, and are not kept: %s. "
            "Those of sampling need do_sample=true, and those of beams num_beams above 1, in its "
            "generation_config.json.",
            ", ".join(f"{name}={value}" for name, value in dropped.items()),
        )
    return made


def check_usable(settings: GenerationConfig, name: str) -> None:
    """Refuses settings of generation that transformers would not write, before a run's first step.

    Args:
        settings: A student's.
        name: What the error calls the model that they come from.

    Raises:
        ValueError: They contradict each other.
    """
    try:
        settings.validate(strict=True)
    except ValueError as error:
        raise ValueError(
            f"the student would have the generation settings of {name}, which transformers does "
            f"not write: {error}\nCorrect generation_config.json of that model, or delete the file."
        ) from error
