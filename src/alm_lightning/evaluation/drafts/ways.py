"""Greedy texts of a target: by itself, and with each way to draft for it."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.generation.candidate_generator import (
    AssistantToTargetTranslator,
    CandidateGenerator,
    UniversalSpeculativeDecodingGenerator,
)

from alm_lightning.evaluation.drafts.rounds import MakeGenerator, Rounds, counted_rounds
from alm_lightning.evaluation.evaluated_model import EvaluatedModel
from alm_lightning.models.generation import without_settings

ALONE = "alone"
"""The target without a draft."""
ASSISTED = "assisted"
"""A draft of the target's vocabulary."""
UNIVERSAL = "universal"
"""A draft of another vocabulary: its text is tokenized again (universal assisted decoding)."""
INTERSECTION = "intersection"
"""A draft of another vocabulary, which writes the tokens that both have alone."""
PROMPT_LOOKUP = "prompt_lookup"
"""No model: what followed the last tokens where they stood before."""
ACROSS = (UNIVERSAL, INTERSECTION)


@dataclass(frozen=True)
class Written:
    """A text that was generated.

    Attributes:
        ids: Its tokens, without the prompt.
        seconds: Time that it took.
        rounds: Of assisted generation; None where there was no draft.
    """

    ids: list[int]
    seconds: float
    rounds: Rounds | None


class Writer:
    """Writes greedy texts by a target, with a draft or without.

    Args:
        target: The model whose texts they are.
        draft: The model that drafts.
        draft_tokens: How many tokens are drafted in a round.
    """

    def __init__(self, target: EvaluatedModel, draft: EvaluatedModel, draft_tokens: int):
        self.target, self.draft, self.draft_tokens = target, draft, draft_tokens
        # a draft is as long in every round: no confidence ends it earlier, and nothing is adapted
        self._draft_settings = GenerationConfig(
            num_assistant_tokens=draft_tokens,
            num_assistant_tokens_schedule="constant",
            assistant_confidence_threshold=0.0,
        )

    @torch.inference_mode()
    def write(self, prompt: Sequence[int], max_new_tokens: int, way: str) -> Written:
        """A greedy continuation of a prompt.

        Args:
            prompt: Token ids of the target.
            max_new_tokens: The most tokens of the text, a stop token included.
            way: One of the ways above.

        Returns:
            The text.
        """
        model = self.target.model
        ids = torch.tensor([list(prompt)], device=model.device)
        settings = GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=list(self.target.stop_ids) or None,
            pad_token_id=self.target.view.roles.get("pad", self.target.view.start_id),
            use_cache=True,
            prompt_lookup_num_tokens=self.draft_tokens if way == PROMPT_LOOKUP else None,
        )
        counting = (
            nullcontext()
            if way == ALONE
            else counted_rounds(model, self._across(way) if way in ACROSS else None)
        )
        with (
            without_settings(model),
            without_settings(self.draft.model),
            counting as rounds,
        ):
            self.draft.model.generation_config = self._draft_settings
            started = time.perf_counter()
            found = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                generation_config=settings,
                **self._assistant(way),
            )
            # the copy to the processor waits for an accelerator
            new = found[0, len(prompt) :].tolist()
            seconds = time.perf_counter() - started
        return Written(new, seconds, rounds)

    def _assistant(self, way: str) -> dict[str, Any]:
        if way in (ALONE, PROMPT_LOOKUP):
            return {}
        assistant = {"assistant_model": self.draft.model}
        if way in ACROSS:
            assistant |= {
                "tokenizer": self.target.view.hf,
                "assistant_tokenizer": self.draft.view.hf,
            }
        return assistant

    def _across(self, way: str) -> MakeGenerator:
        """Makes what drafts in another vocabulary."""
        model = self.target.model
        chosen = self._intersection if way == INTERSECTION else model._get_candidate_generator

        def make(*args: Any, **kwargs: Any) -> CandidateGenerator:
            generator = chosen(*args, **kwargs)
            # transformers hands on the target's ids, which are other tokens of the draft
            generator.generation_config.eos_token_id = list(self.draft.stop_ids) or None
            return generator

        return make

    @cached_property
    def _intersection(self) -> MakeGenerator:
        """Speculative decoding by the intersection, which transformers offers for sampling alone.

        Reference: Timor et al. (2025), "Accelerating LLM Inference with Lossless Speculative
        Decoding Algorithms for Heterogeneous Vocabularies", arXiv:2502.05202, algorithm 4.
        """
        translator = AssistantToTargetTranslator(
            self.target.view.hf,
            self.draft.view.hf,
            self.target.model.config.get_text_config().vocab_size,
            assistant_model=self.draft.model,
        )

        def make(**kwargs: Any) -> CandidateGenerator:
            return UniversalSpeculativeDecodingGenerator(**kwargs, atm_translator=translator)

        return make
