"""What a model goes on to say: as it is made, or for many prompts at once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from alm_lightning.evaluation.prompts import prompt_ids
from alm_lightning.evaluation.sampling import Sampling, check_logits, next_ids
from alm_lightning.evaluation.spelling import Spelling
from alm_lightning.evaluation.subject import Subject
from alm_lightning.models.byte_lm import CACHE

__all__ = ["BATCH_SIZE", "GeneratedText", "generate_texts", "pieces", "prompt_ids", "stream"]

BATCH_SIZE = 8
"""Prompts that are gone on with at once, where nobody says otherwise."""


@dataclass(frozen=True)
class GeneratedText:
    """What a model wrote.

    Attributes:
        text: Its text, without special tokens; half a character at its end is U+FFFD.
        num_tokens: Number of tokens that were made, without the one it stopped at.
        stopped: Whether it stopped by itself, rather than at the longest that was asked for.
    """

    text: str
    num_tokens: int
    stopped: bool


def stream(
    subject: Subject,
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
        subject: The model.
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
    return pieces(subject, prompt, sampling, Spelling(subject, max_new_bytes))


@torch.inference_mode()
def pieces(
    subject: Subject, prompt: Sequence[int], sampling: Sampling, spelling: Spelling
) -> Iterator[str]:
    """The same, with the settings in one, and a text that knows how it ended.

    Args:
        subject: The model.
        prompt: The ids to go on from.
        sampling: How tokens are chosen, and how many.
        spelling: A text of nothing.

    Yields:
        Whole characters.

    Raises:
        ValueError: The prompt leaves no room for an answer, or a logit is NaN.
    """
    model = subject.model
    limit = _room(subject, [prompt], sampling)
    generator = torch.Generator(model.device).manual_seed(sampling.seed)
    step = torch.tensor([list(prompt)], device=model.device)
    cache = None
    for _ in range(limit):
        output = model(input_ids=step, use_cache=True, logits_to_keep=1, **{CACHE: cache})
        cache = getattr(output, CACHE)
        logits = output.logits[:, -1]
        check_logits(logits, subject.name)
        step = next_ids(logits, sampling, generator)[:, None]
        if piece := spelling.add(int(step)):
            yield piece
        if spelling.is_done:
            break
    if rest := spelling.end():
        yield rest


def generate_texts(
    subject: Subject,
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
        subject: The model.
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
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    found: dict[int, GeneratedText] = {}
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        texts = _batch(subject, [prompts[index] for index in chosen], sampling)
        found |= dict(zip(chosen, texts, strict=True))
    return [found[index] for index in range(len(prompts))]


@torch.inference_mode()
def _batch(
    subject: Subject, prompts: Sequence[Sequence[int]], sampling: Sampling
) -> list[GeneratedText]:
    model, width = subject.model, max(len(prompt) for prompt in prompts)
    limit = _room(subject, prompts, sampling)
    pad = subject.view.roles.get("pad", subject.view.start_id)
    # on the left, so that the last token of every row is the one to go on from
    ids = torch.tensor([[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    config = GenerationConfig(
        max_new_tokens=limit,
        eos_token_id=list(subject.stop_ids) or None,
        pad_token_id=pad,
        use_cache=True,
        **sampling.arguments(),
    )
    name = subject.name

    def check(input_ids: Tensor, scores: Tensor) -> Tensor:
        check_logits(scores, name)
        return scores

    criteria = [] if sampling.max_new_bytes is None else [_LongEnough(subject, width, sampling)]
    with _no_settings(model), torch.random.fork_rng(_devices(model)):
        torch.manual_seed(sampling.seed)
        output = model.generate(
            ids.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=config,
            logits_processor=[check],
            stopping_criteria=criteria,
        )
    return [_read(subject, row, sampling) for row in output[:, width:].tolist()]


def _read(subject: Subject, ids: Sequence[int], sampling: Sampling) -> GeneratedText:
    spelling = Spelling(subject, sampling.max_new_bytes)
    text = ""
    for index in ids:
        text += spelling.add(index)
        if spelling.is_done:
            break
    return GeneratedText(text + spelling.end(), spelling.num_tokens, spelling.stopped)


def _room(subject: Subject, prompts: Sequence[Sequence[int]], sampling: Sampling) -> int:
    """How many tokens may follow the longest of these prompts."""
    longest = max(len(prompt) for prompt in prompts)
    room = subject.context_length - longest
    if room < 1:
        raise ValueError(
            f"a prompt has {longest:,} tokens, but {subject.name} reads at most "
            f"{subject.context_length:,}, and there must be room for an answer. Shorten the prompt."
        )
    return min(sampling.most_tokens, room)


def _devices(model: PreTrainedModel) -> list[torch.device]:
    return [] if model.device.type == "cpu" else [model.device]


@contextmanager
def _no_settings(model: PreTrainedModel) -> Iterator[None]:
    """Hides what a model's folder says of generation: penalties and the like would come on top."""
    kept = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = kept


class _LongEnough:
    """Stops each row of a batch once it spells enough bytes."""

    def __init__(self, subject: Subject, prompt_length: int, sampling: Sampling):
        self.lengths = torch.from_numpy(subject.view.byte_lengths).to(subject.model.device)
        self.prompt_length, self.most = prompt_length, sampling.max_new_bytes

    def __call__(self, input_ids: Tensor, scores: Tensor | None, **kwargs) -> Tensor:
        new_ids = input_ids[:, self.prompt_length :]
        return self.lengths[new_ids].sum(1) >= self.most
