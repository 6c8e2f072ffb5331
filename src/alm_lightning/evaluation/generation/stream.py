"""What a model goes on to say: as it is made, or for many prompts at once."""

from collections.abc import Iterator, Sequence

import torch

from alm_lightning.evaluation.evaluated_model import EvaluatedModel
from alm_lightning.evaluation.generation.prompts import prompt_ids
from alm_lightning.evaluation.generation.sampling import Sampling, check_logits, next_ids
from alm_lightning.evaluation.generation.spelling import Spelling
from alm_lightning.evaluation.generation.until import (
    BATCH_SIZE,
    GeneratedText,
    generate_until,
    room_for,
)
from alm_lightning.models.bytes.byte_lm import CACHE

__all__ = ["BATCH_SIZE", "GeneratedText", "generate_texts", "pieces", "prompt_ids", "stream"]


def stream(
    evaluated: EvaluatedModel,
    prompt: Sequence[int],
    *,
    max_new_tokens: int | None = None,
    max_new_bytes: int | None = None,
    temperature: float | int = 0.0,
    top_p: float | int = 1.0,
    seed: int = 0,
) -> Iterator[str]:
    """A continuation, piece by piece as it is made.

    Args:
        evaluated: The model.
        prompt: The ids to go on from, as `prompt_ids` gives them.
        max_new_tokens: The most tokens to make.
        max_new_bytes: The most bytes that they spell: the same length for any tokenizer.
        temperature: 0 takes the likeliest token each time.
        top_p: Mass of the likeliest tokens that are sampled from.
        seed: Of the random numbers.

    Returns:
        Whole characters: bytes of one that is not complete wait for the others.
    """
    sampling = Sampling(max_new_tokens, max_new_bytes, temperature, top_p, seed)
    return pieces(evaluated, prompt, sampling, Spelling(evaluated, max_new_bytes))


@torch.inference_mode()
def pieces(
    evaluated: EvaluatedModel, prompt: Sequence[int], sampling: Sampling, spelling: Spelling
) -> Iterator[str]:
    """The same, with the settings in one, and a text that knows how it ended.

    Args:
        evaluated: The model.
        prompt: The ids to go on from.
        sampling: How tokens are chosen, and how many.
        spelling: A text of nothing.

    Yields:
        Whole characters.

    Raises:
        ValueError: The prompt leaves no room for an answer, or a logit is NaN.
    """
    model = evaluated.model
    limit = room_for(evaluated, [prompt], sampling)
    generator = torch.Generator(model.device).manual_seed(sampling.seed)
    step = torch.tensor([list(prompt)], device=model.device)
    cache = None
    for _ in range(limit):
        output = model(input_ids=step, use_cache=True, logits_to_keep=1, **{CACHE: cache})
        cache = getattr(output, CACHE)
        logits = output.logits[:, -1]
        check_logits(logits, evaluated.name)
        step = next_ids(logits, sampling, generator)[:, None]
        if piece := spelling.add(int(step)):
            yield piece
        if spelling.is_done:
            break
    if rest := spelling.end():
        yield rest


def generate_texts(
    evaluated: EvaluatedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int | None = None,
    max_new_bytes: int | None = None,
    temperature: float | int = 0.0,
    top_p: float | int = 1.0,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
) -> list[GeneratedText]:
    """Continuations of many prompts, those of like length in one batch.

    Args:
        evaluated: The model.
        prompts: The ids to go on from.
        max_new_tokens: The most tokens to make. A batch goes on as far as the context has room for
            its longest prompt.
        max_new_bytes: The most bytes that they spell.
        temperature: 0 takes the likeliest token each time: then the batch makes no difference.
        top_p: Mass of the likeliest tokens that are sampled from.
        seed: Of the random numbers, anew for each batch.
        batch_size: Prompts of a batch.

    Returns:
        What the model wrote, in the order of the prompts.
    """
    sampling = Sampling(max_new_tokens, max_new_bytes, temperature, top_p, seed)
    return generate_until(evaluated, prompts, sampling, (), batch_size=batch_size)
