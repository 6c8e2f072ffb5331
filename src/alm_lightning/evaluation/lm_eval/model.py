"""A model with the interface of lm-eval: texts in, log-likelihoods and texts out.

It has the methods of lm-eval's `LM`, and scores with `evaluation.scoring`, without whole logits.
lm-eval itself is not imported here.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from alm_lightning.alignment.chat.turns import turns_of
from alm_lightning.corpus.chat import SYSTEM_POLICIES, Chat
from alm_lightning.evaluation.evaluated_model import EvaluatedModel
from alm_lightning.evaluation.generation.texts import generate_texts
from alm_lightning.evaluation.lm_eval.settings import Writing
from alm_lightning.evaluation.scoring import adjoining_rows, score_rows
from alm_lightning.evaluation.suites.choices import likelihoods
from alm_lightning.evaluation.suites.continuations import (
    Continuation,
    last_content,
    text_continuation,
)
from alm_lightning.tokenization.chat.choice import template_of
from alm_lightning.tokenization.chat.template import FAILURES, Rendering

log = logging.getLogger(__name__)


class LmEvalModel:
    """The methods of lm-eval's `LM`.

    An empty context is the tokenizer's start token, as a document begins in training. Any other is
    as lm-eval has it: with a start token where the tokenizer prepends one. In chats special tokens
    are parsed in what the template wrote; elsewhere what looks like one is text.

    Args:
        evaluated: The model.
        chat: Whether contexts are chats, written by `apply_chat_template`.
        max_length: The most tokens that are read at once; None for the model's own context.
        writing: How texts are generated where a task does not say it.
        batch_size: Texts that are generated at once.

    Attributes:
        rank: Of this process.
        world_size: Number of processes.
        needs_greedy: Whether the task that is run asks for more than likelihoods.
    """

    rank, world_size = 0, 1

    def __init__(
        self,
        evaluated: EvaluatedModel,
        *,
        chat: bool,
        max_length: int | None,
        writing: Writing,
        batch_size: int,
    ):
        self.evaluated, self.chat, self.writing = evaluated, chat, writing
        limits = [evaluated.context_length, *([] if max_length is None else [max_length])]
        self.max_length, self.batch_size = min(limits), batch_size
        self.needs_greedy = True
        self._warned_lengths: set[int] = set()

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.evaluated.model.device

    @property
    def tokenizer_name(self) -> str:
        """Distinguishes prompts of this tokenizer from those of another."""
        return self.evaluated.view.fingerprint

    def apply_chat_template(
        self, chat_history: Sequence[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The text of a chat; a system message that a template refuses goes to the user's first."""
        template = template_of(self.evaluated.view, None)
        is_open = {
            "add_generation_prompt": add_generation_prompt,
            "continue_final_message": not add_generation_prompt,
        }
        try:
            return template.apply(chat_history, **is_open)
        except FAILURES:
            merged = SYSTEM_POLICIES["merge"](Chat.of(chat_history, "a chat of lm-eval"))
            messages = [{"role": m.role, "content": m.content} for m in merged.messages]
            return template.apply(messages, **is_open)

    def chat_template(self, chat_template: bool | str = False) -> str:
        """The template itself, for records; an empty text where there is none."""
        return template_of(self.evaluated.view, None).jinja if chat_template else ""

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Log-likelihoods of continuations, in nats, and whether each token is the likeliest."""
        whole = [self._pair(*request.args) for request in requests]
        cut = [self._cut(each) for each in whole]
        if shorter := sum(len(new.ids) < len(old.ids) for new, old in zip(cut, whole, strict=True)):
            log.warning(
                "%s: %d of %d contexts are longer than %d tokens: only their ends are read",
                self.evaluated.name,
                shorter,
                len(cut),
                self.max_length,
            )
        return likelihoods(self.evaluated, cut, needs_greedy=self.needs_greedy)

    def _pair(self, context: str, continuation: str) -> Continuation:
        view, name = self.evaluated.view, "a request of lm-eval"
        if self.chat:
            return last_content(view, Rendering((context, ""), (continuation,)), name)
        # whitespace belongs to the word after it, as in most vocabularies
        kept = context.rstrip()
        spelled = context[len(kept) :] + continuation
        return text_continuation(view, kept, spelled, name, always_start=False)

    def _cut(self, each: Continuation) -> Continuation:
        """The end of a text that is too long, after its start token, if it has one."""
        surplus = len(each.ids) - self.max_length
        if surplus <= 0:
            return each
        start = int(each.ids[0] == self.evaluated.view.start_id)
        if each.first - surplus <= 0:
            raise ValueError(
                f"a text to be scored has {len(each.ids) - each.first:,} tokens, but "
                f"{self.evaluated.name} reads at most {self.max_length:,} at once. Leave the task "
                "out, or raise max_length (harness.lm_eval.max_length) if the model reads more."
            )
        # the start token gives way to the last one of the context, if no more fits
        start = min(start, each.first - surplus - 1)
        ids = np.concatenate([each.ids[:start], each.ids[start + surplus :]])
        return Continuation(ids, each.first - surplus, each.crosses)

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        """Log-likelihoods of whole texts in nats, in windows without overlap, as in lm-eval."""
        view, rows, owners = self.evaluated.view, [], []
        for number, request in enumerate(requests):
            (text,) = request.args
            content = view.encode(text, name="a text of lm-eval").ids if text else []
            ids = np.concatenate([[view.start_id], content]).astype(np.int64)
            new = adjoining_rows(ids, self.max_length)
            rows, owners = rows + new, owners + [number] * len(new)
        sums = np.zeros(len(requests))
        for index, logprobs in score_rows(self.evaluated, rows):
            sums[owners[index]] += logprobs.sum()
        return sums.tolist()

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Continuations of contexts."""
        alike: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            alike.setdefault(json.dumps(request.args[1], sort_keys=True), []).append(index)
        results: dict[int, str] = {}
        for members in alike.values():
            sampling, stops = self.writing.of(requests[members[0]].args[1], self.evaluated)
            most = self._max_new_tokens(sampling.most_tokens)
            prompts = [self._prompt(requests[i].args[0], self.max_length - most) for i in members]
            specials = self.evaluated.view.special_ids
            ends = [specials[stop] for stop in stops if stop in specials]
            texts = generate_texts(
                replace(self.evaluated, stop_ids=[*self.evaluated.stop_ids, *ends]),
                prompts,
                replace(sampling, max_new_tokens=most),
                stops,
                batch_size=self.batch_size,
            )
            results |= {i: each.text for i, each in zip(members, texts, strict=True)}
        return [results[index] for index in range(len(requests))]

    def _max_new_tokens(self, limit: int) -> int:
        """The most tokens to generate: at least half of the context is for the prompt."""
        most = min(limit, self.max_length // 2)
        if most < limit and limit not in self._warned_lengths:
            self._warned_lengths.add(limit)
            log.warning(
                "%s: a task asks for texts of up to %d tokens, and they end at %d, half of the %d "
                "that are read at once: the other half is for prompts",
                self.evaluated.name,
                limit,
                most,
                self.max_length,
            )
        return most

    def _prompt(self, context: str, longest: int) -> list[int]:
        view, name = self.evaluated.view, "a prompt of lm-eval"
        if self.chat:
            ids = turns_of(view, Rendering((context,), ()), name).ids.tolist()
        else:
            content = view.encode(context, name=name).ids.tolist() if context else []
            ids = [view.start_id, *content] if view.prepends_bos or not content else content
        if len(ids) <= longest:
            return ids
        log.warning(
            "%s: a prompt of %d tokens is cut to %d", self.evaluated.name, len(ids), longest
        )
        start = int(ids[0] == view.start_id)
        return [*ids[:start], *ids[len(ids) - longest + start :]]
