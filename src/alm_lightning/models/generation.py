"""What sampling from a model needs, whoever samples: padding, the draw, no settings of its own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel


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
