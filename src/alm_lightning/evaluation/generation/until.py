"""Continuations that end at a text, such as the beginning of the next question."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from alm_lightning.evaluation.evaluated_model import EvaluatedModel
from alm_lightning.evaluation.generation.sampling import Sampling, check_logits
from alm_lightning.evaluation.generation.spelling import Spelling

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


def generate_until(
    evaluated: EvaluatedModel,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    stop_texts: Sequence[str],
    *,
    batch_size: int = BATCH_SIZE,
) -> list[GeneratedText]:
    """Continuations of many prompts, each up to the first of some texts in it.

    Args:
        evaluated: The model.
        prompts: The ids to go on from.
        sampling: How tokens are chosen, and how many.
        stop_texts: Where a continuation ends, itself not part of it, however it is tokenized.
            Empty ones are none.
        batch_size: Prompts of a batch.

    Returns:
        What the model wrote, in the order of the prompts; one that ends at a text has stopped by
        itself.
    """
    stops = [text for text in stop_texts if text]
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    found: dict[int, GeneratedText] = {}
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        texts = _batch(evaluated, [prompts[index] for index in chosen], sampling, stops)
        found |= dict(zip(chosen, texts, strict=True))
    return [found[index] for index in range(len(prompts))]


@torch.inference_mode()
def _batch(
    evaluated: EvaluatedModel,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    stops: Sequence[str],
) -> list[GeneratedText]:
    model, width = evaluated.model, max(len(prompt) for prompt in prompts)
    limit, name = room_for(evaluated, prompts, sampling), evaluated.name
    pad = evaluated.view.roles.get("pad", evaluated.view.start_id)
    # on the left, so that the last token of every row is the one to go on from
    ids = torch.tensor([[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    config = GenerationConfig(
        max_new_tokens=limit,
        eos_token_id=list(evaluated.stop_ids) or None,
        pad_token_id=pad,
        use_cache=True,
        **sampling.arguments(),
    )

    def check(input_ids: Tensor, scores: Tensor) -> Tensor:
        check_logits(scores, name)
        return scores

    with _no_settings(model), torch.random.fork_rng(_devices(model)):
        torch.manual_seed(sampling.seed)
        output = model.generate(
            ids.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=config,
            logits_processor=[check],
            stopping_criteria=[_Ended(evaluated, width, sampling, stops)],
        )
    return [_read(evaluated, row, sampling, stops) for row in output[:, width:].tolist()]


def _read(
    evaluated: EvaluatedModel, ids: Sequence[int], sampling: Sampling, stops: Sequence[str]
) -> GeneratedText:
    spelling = Spelling(evaluated, sampling.max_new_bytes)
    text = ""
    for index in ids:
        text += spelling.add(index)
        # a row that is done is filled up to the length of the longest one
        if spelling.is_done or any(stop in text for stop in stops):
            break
    text += spelling.end()
    places = [text.find(stop) for stop in stops if stop in text]
    ended = spelling.stopped or bool(places)
    return GeneratedText(text[: min(places)] if places else text, spelling.num_tokens, ended)


def room_for(
    evaluated: EvaluatedModel, prompts: Sequence[Sequence[int]], sampling: Sampling
) -> int:
    """How many tokens may follow the longest of these prompts.

    Args:
        evaluated: The model.
        prompts: The ids to go on from.
        sampling: How many are asked for.

    Returns:
        At most as many as are asked for.

    Raises:
        ValueError: The longest prompt leaves no room.
    """
    longest = max(len(prompt) for prompt in prompts)
    room = evaluated.context_length - longest
    if room < 1:
        raise ValueError(
            f"a prompt has {longest:,} tokens, but {evaluated.name} reads at most "
            f"{evaluated.context_length:,}, and there must be room for an answer. "
            "Shorten the prompt."
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


class _Ended:
    """Stops each row of a batch once it spells a stop text, or enough bytes."""

    def __init__(
        self,
        evaluated: EvaluatedModel,
        prompt_length: int,
        sampling: Sampling,
        stops: Sequence[str],
    ):
        self.surfaces, self.prompt_length = evaluated.view.token_bytes, prompt_length
        self.most, self.stops = sampling.max_new_bytes, [stop.encode("utf-8") for stop in stops]
        self.longest = max((len(stop) for stop in self.stops), default=0)
        self.spelled: list[bytes] = []

    def __call__(self, input_ids: Tensor, scores: Tensor | None, **kwargs) -> Tensor:
        last = input_ids[:, -1].tolist()
        if input_ids.shape[1] == self.prompt_length + 1:
            self.spelled = [b""] * len(last)
        done = []
        for row, index in enumerate(last):
            surface = self.surfaces[index] if index < len(self.surfaces) else None
            self.spelled[row] += surface or b""
            # a stop that is new ends in this token
            tail = self.spelled[row][-(self.longest + len(surface or b"")) :]
            is_long = self.most is not None and len(self.spelled[row]) >= self.most
            done.append(is_long or any(stop in tail for stop in self.stops))
        return torch.tensor(done, device=input_ids.device)
