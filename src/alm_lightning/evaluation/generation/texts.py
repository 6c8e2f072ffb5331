"""Continuations of prompts by a model or an ensemble: the one place where tokens are generated."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import GenerationConfig

from alm_lightning.evaluation.evaluated_model import EvaluatedModel
from alm_lightning.evaluation.generation.sampling import Sampling, check_logits
from alm_lightning.evaluation.generation.spelling import Spelling
from alm_lightning.models.generation import drawn_ids, left_padded, only, without_settings
from alm_lightning.models.pair import Scorer
from alm_lightning.models.structure import unused_ids

log = logging.getLogger(__name__)

BATCH_SIZE = 8

OnText = Callable[[int, str], object]
"""Is called with the index of a prompt and a piece of its continuation, as soon as it is known."""


@dataclass(frozen=True)
class GeneratedText:
    """The continuation of a prompt.

    Attributes:
        text: Without special tokens; half a character at its end is U+FFFD.
        num_tokens: Without the token it stopped at.
        num_bytes: Of the text; bytes that are no UTF-8 count as they were generated.
        stopped: True if it ended at a stop token or a stop text, False if the length ended it.
    """

    text: str
    num_tokens: int
    num_bytes: int
    stopped: bool


def generate_texts(
    evaluated: EvaluatedModel,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    stop_texts: Sequence[str] = (),
    *,
    batch_size: int = BATCH_SIZE,
    on_text: OnText | None = None,
) -> list[GeneratedText]:
    """Continuations of prompts; those of like length share a batch.

    Args:
        evaluated: The model or ensemble.
        prompts: Token ids, as `prompt_ids` gives them.
        sampling: How tokens are chosen, and how many: fewer where the context has less room after
            a prompt, which is warned of if a text is cut there. The seed is that of the call: the
            same prompt twice has two samples.
        stop_texts: A continuation ends before the first of these, however it is tokenized. Empty
            ones are ignored.
        batch_size: Prompts of a batch.
        on_text: Is called with each piece of text when it is generated, a stop text included.

    Returns:
        Continuations in the order of the prompts.

    Raises:
        ValueError: A prompt fills the context, or a logit is NaN.
    """
    stops = [text for text in stop_texts if text]
    draw = _Draw(evaluated, sampling)
    rooms = [_room(evaluated, prompt, sampling) for prompt in prompts]
    results: dict[int, GeneratedText] = {}
    num_cut = 0

    def continued(members: Sequence[int]) -> list[int]:
        """Continues some prompts together; returns those that end where a longer one has to."""
        nonlocal num_cut
        texts = {index: Spelling(evaluated, sampling.max_new_bytes, stops) for index in members}
        room = min(rooms[index] for index in members)
        own = [prompts[index] for index in members]
        _generate(evaluated, own, draw, _Watcher(texts, on_text), room)
        early = [i for i, text in texts.items() if not text.is_done and rooms[i] > room]
        results.update((i, _result(text)) for i, text in texts.items() if i not in early)
        if room < sampling.most_tokens:
            num_cut += sum(not text.is_done for text in texts.values()) - len(early)
        return early

    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    # how far a text goes must not depend on what else is in its batch: few get that far, and these
    # are written anew beside others with as much room. What is shown can't be taken back
    early = [] if on_text is None else order
    for members in _batches(order, batch_size) if on_text is None else ():
        early += continued(members)
    for _, alike in groupby(sorted(early, key=rooms.__getitem__), key=rooms.__getitem__):
        for members in _batches(list(alike), batch_size):
            continued(members)
    if num_cut:
        log.warning(
            "%s: %d of %d texts end where the context of %s tokens does, before they have the %s "
            "tokens that were asked for. Shorter prompts leave more room.",
            evaluated.name,
            num_cut,
            len(prompts),
            f"{evaluated.context_length:,}",
            f"{sampling.most_tokens:,}",
        )
    return [results[index] for index in range(len(prompts))]


def _batches(order: Sequence[int], batch_size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def continuation(scorer: Scorer, prompt: str, *, num_bytes: int) -> str:
    """A greedy continuation of a prompt, cut at `num_bytes`, up to the first special token.

    The model may be in training. Special tokens in the prompt are text.
    """
    view, model = scorer.view, scorer.model
    specials = [index for index, surface in enumerate(view.token_bytes) if surface is None]
    evaluated = EvaluatedModel(view.name, model, view, described=view.name, stop_ids=specials)
    ids = [view.start_id, *view.encode(prompt, name="prompt").ids.tolist()]
    spelling = Spelling(evaluated, num_bytes)
    was_training = model.training
    model.eval()
    try:
        # not cut at the model's context: a sample may go beyond it
        draw = _Draw(evaluated, Sampling(None, num_bytes))
        _generate(evaluated, [ids], draw, _Watcher({0: spelling}), num_bytes)
    finally:
        model.train(was_training)
    return spelling.spelled.decode("utf-8", errors="replace")


class _Draw:
    """Leaves the next token of each row alone in its logits, as ``generate`` asks for it."""

    def __init__(self, evaluated: EvaluatedModel, sampling: Sampling):
        self._name, self._sampling = evaluated.name, sampling
        self._num_tokens = evaluated.view.num_tokens
        self._holes = torch.from_numpy(unused_ids(evaluated.view)).to(evaluated.model.device)
        self._generator = torch.Generator(evaluated.model.device).manual_seed(sampling.seed)

    def __call__(
        self, input_ids: Int[Tensor, "batch pos"], scores: Float[Tensor, "batch vocab"]
    ) -> Float[Tensor, "batch vocab"]:
        check_logits(scores, self._name)
        # neither padding of the vocabulary nor an id that no token has spells anything
        scores = scores.index_fill(1, self._holes, -torch.inf)
        scores[:, self._num_tokens :] = -torch.inf
        if self._sampling.temperature == 0:
            return scores
        # drawn here, with random numbers of our own: nothing else can be drawn from the result
        chosen = drawn_ids(
            scores,
            temperature=self._sampling.temperature,
            top_p=self._sampling.top_p,
            generator=self._generator,
        )
        return only(chosen, scores)


@torch.inference_mode()
def _generate(
    evaluated: EvaluatedModel,
    prompts: Sequence[Sequence[int]],
    draw: _Draw,
    watcher: "_Watcher",
    max_new_tokens: int,
) -> None:
    """Continues a batch by transformers' `generate`, which knows the cache of every family."""
    model = evaluated.model
    pad = evaluated.view.roles.get("pad", evaluated.view.start_id)
    ids, mask = left_padded(prompts, pad)
    with without_settings(model):
        model.generate(
            ids.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=GenerationConfig(
                max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=pad, use_cache=True
            ),
            logits_processor=[draw],
            stopping_criteria=[watcher],
        )
    watcher.end()


class _Watcher:
    """Reads each token when it is generated, and stops rows that are done."""

    def __init__(self, texts: dict[int, Spelling], on_text: OnText | None = None):
        self.texts, self.on_text = texts, on_text

    def __call__(
        self, input_ids: Int[Tensor, "batch pos"], scores: object, **kwargs: object
    ) -> Bool[Tensor, " batch"]:
        for (key, text), index in zip(self.texts.items(), input_ids[:, -1].tolist(), strict=True):
            # a row that is done is generated on until all of its batch are
            if not text.is_done:
                self._tell(key, text.add(index))
        done = [text.is_done for text in self.texts.values()]
        return torch.tensor(done, device=input_ids.device)

    def end(self) -> None:
        for key, text in self.texts.items():
            self._tell(key, text.end())

    def _tell(self, key: int, piece: str) -> None:
        if piece and self.on_text is not None:
            self.on_text(key, piece)


def _result(spelling: Spelling) -> GeneratedText:
    return GeneratedText(spelling.text, spelling.num_tokens, spelling.num_bytes, spelling.stopped)


def _room(evaluated: EvaluatedModel, prompt: Sequence[int], sampling: Sampling) -> int:
    """The most tokens that may follow a prompt."""
    left = evaluated.context_length - len(prompt)
    if left < 1:
        raise ValueError(
            f"a prompt has {len(prompt):,} tokens, but {evaluated.name} reads at most "
            f"{evaluated.context_length:,}, and one token at least must be left for an "
            "answer. Shorten the prompt."
        )
    return min(sampling.most_tokens, left)
