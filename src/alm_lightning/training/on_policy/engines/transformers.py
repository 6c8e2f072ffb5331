"""Sampling by transformers' generation, in the process that trains, with the student itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import GenerationConfig

from alm_lightning.alignment.answer import Answer
from alm_lightning.models.generation import drawn_ids, left_padded, only, without_settings
from alm_lightning.models.pair import Scorer
from alm_lightning.models.structure import unused_ids
from alm_lightning.training.on_policy.engines.engine import (
    Engine,
    Sampling,
    answer_of,
    stop_ids_of,
)


@dataclass(frozen=True)
class TransformersSettings:
    """Answers are sampled by transformers, on any device; there is nothing to set."""

    def check(self, sampling: Sampling, *, accelerator: str, micro_batch_size: int | str) -> None:
        """Refuses nothing."""

    def engine(self, student: Scorer, sampling: Sampling, *, max_length: int) -> Engine:
        """The engine of a run; lengths are those of the prompts."""
        return TransformersEngine(student, sampling)


class TransformersEngine:
    """Samples by transformers' `generate`, with the cache, in the process that trains.

    Args:
        student: The student.
        settings: Temperature, lengths, and how many answers are sampled together.
    """

    def __init__(self, student: Scorer, settings: Sampling):
        self.student, self.settings = student, settings
        self.stop_ids = stop_ids_of(student)
        self._holes = torch.from_numpy(unused_ids(student.view))
        self._masked: Int[Tensor, " unused"] | None = None

    # not inference mode: weights that autocast has cast there could not be trained with
    @torch.no_grad()
    def __call__(self, prompts: Sequence[Int[np.ndarray, " _"]], *, seed: int) -> list[Answer]:
        """An answer to each prompt; those of like length are sampled together."""
        model, size = self.student.model, self.settings.batch_size
        generator = torch.Generator(model.device).manual_seed(seed)
        order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
        found: dict[int, Answer] = {}
        was_training = model.training
        model.eval()
        try:
            for start in range(0, len(order), size):
                chosen = order[start : start + size]
                answers = self._batch([prompts[index] for index in chosen], generator)
                found |= dict(zip(chosen, answers, strict=True))
        finally:
            model.train(was_training)
            # the step would take the weights that autocast has cast here, which have no gradient
            torch.clear_autocast_cache()
        return [found[index] for index in range(len(prompts))]

    def _batch(
        self, prompts: Sequence[Int[np.ndarray, " _"]], generator: torch.Generator
    ) -> list[Answer]:
        model, view, settings = self.student.model, self.student.view, self.settings
        pad = view.roles.get("pad", view.start_id)
        ids, mask = left_padded([prompt.tolist() for prompt in prompts], pad)

        def draw(
            input_ids: Int[Tensor, "batch pos"], scores: Float[Tensor, "batch vocab"]
        ) -> Float[Tensor, "batch vocab"]:
            # rows that no token has may have any logit, and get no mass where a text is scored
            scores = scores.float().index_fill(1, self._unused(scores.shape[1]), -torch.inf)
            chosen = drawn_ids(
                scores,
                temperature=settings.temperature,
                top_p=settings.top_p,
                generator=generator,
            )
            return only(chosen, scores)

        with without_settings(model):
            sampled = model.generate(  # type: ignore[operator]  # of a mixin, wrapped
                ids.to(model.device),
                attention_mask=mask.to(model.device),
                generation_config=GenerationConfig(
                    max_new_tokens=settings.max_new_tokens,
                    do_sample=False,
                    pad_token_id=pad,
                    eos_token_id=self.stop_ids,
                    use_cache=True,
                ),
                logits_processor=[draw],
                # weights that are spread are all here meanwhile: no rank waits for another's tokens
                synced_gpus=False,
            )
        rows = sampled[:, ids.shape[1] :].cpu().numpy()
        return [answer_of(row, self.stop_ids) for row in rows]

    def _unused(self, num_rows: int) -> Int[Tensor, " unused"]:
        if self._masked is None:
            padding = torch.arange(self.student.view.num_tokens, num_rows)
            self._masked = torch.cat([self._holes, padding]).to(self.student.model.device)
        return self._masked
