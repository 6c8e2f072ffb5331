"""Continuations of prompts by a model or an ensemble: the one place where tokens are generated."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import GenerationConfig

from alm_lightning.evaluation.evaluated_model import EvaluatedModel
from alm_lightning.evaluation.generation.sampling import Sampling, check_logits
from alm_lightning.evaluation.generation.spelling import Spelling
from alm_lightning.models.generation import drawn_ids, left_padded, only, without_settings
from alm_lightning.models.pair import Scorer

BATCH_SIZE = 8

OnText = Callable[[int, str], object]
"""Is called with the index of a prompt and a piece of its continuation, as soon as it is known."""


@dataclass(frozen=True)
class GeneratedText:
    """The continuation of a prompt.

    Attributes:
        text: Without special tokens; half a character at its end is U+FFFD.
        num_tokens: Without the token it stopped at.
        stopped: True if it ended at a stop token or a stop text, False if the length ended it.
    """

    text: str
    num_tokens: int
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
        sampling: How tokens are chosen, and how many. A batch ends where the context leaves no
            place after its longest prompt. The seed is set again for each batch.
        stop_texts: A continuation ends before the first of these, however it is tokenized. Empty
            ones are ignored.
        batch_size: Prompts of a batch.
        on_text: Is called with each piece of text when it is generated, a stop text included.

    Returns:
        Continuations in the order of the prompts.

    Raises:
        ValueError: A prompt fills the context, or a logit is NaN.
    """
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    stops = [text for text in stop_texts if text]
    results: dict[int, GeneratedText] = {}
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        texts = [Spelling(evaluated, sampling.max_new_bytes, stops) for _ in chosen]
        own = [prompts[index] for index in chosen]
        watcher = _Watcher(dict(zip(chosen, texts, strict=True)), on_text)
        _generate(evaluated, own, sampling, watcher, _max_new_tokens(evaluated, own[0], sampling))
        results |= {index: _result(text) for index, text in zip(chosen, texts, strict=True)}
    return [results[index] for index in range(len(prompts))]


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
        _generate(evaluated, [ids], Sampling(None, num_bytes), _Watcher({0: spelling}), num_bytes)
    finally:
        model.train(was_training)
    return spelling.spelled.decode("utf-8", errors="replace")


@torch.inference_mode()
def _generate(
    evaluated: EvaluatedModel,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    watcher: "_Watcher",
    max_new_tokens: int,
) -> None:
    """Continues a batch by transformers' `generate`, which knows the cache of every family."""
    model = evaluated.model
    pad = evaluated.view.roles.get("pad", evaluated.view.start_id)
    ids, mask = left_padded(prompts, pad)
    generator = torch.Generator(model.device).manual_seed(sampling.seed)

    def choose(
        input_ids: Int[Tensor, "batch pos"], scores: Float[Tensor, "batch vocab"]
    ) -> Float[Tensor, "batch vocab"]:
        check_logits(scores, evaluated.name)
        if sampling.temperature == 0:
            return scores
        # drawn here, with random numbers of our own: nothing else can be drawn from the result
        chosen = drawn_ids(
            scores,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            generator=generator,
        )
        return only(chosen, scores)

    with without_settings(model):
        model.generate(
            ids.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=GenerationConfig(
                max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=pad, use_cache=True
            ),
            logits_processor=[choose],
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
    return GeneratedText(spelling.text, spelling.num_tokens, spelling.stopped)


def _max_new_tokens(evaluated: EvaluatedModel, longest: Sequence[int], sampling: Sampling) -> int:
    left = evaluated.context_length - len(longest)
    if left < 1:
        raise ValueError(
            f"a prompt has {len(longest):,} tokens, but {evaluated.name} reads at most "
            f"{evaluated.context_length:,}, and one token at least must be left for an "
            "answer. Shorten the prompt."
        )
    return min(sampling.most_tokens, left)
