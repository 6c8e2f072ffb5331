"""Settings of generation for a task of lm-eval, with lengths that suit the model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alm_lightning.evaluation.evaluated_model import EvaluatedModel
from alm_lightning.evaluation.generation.sampling import Sampling

LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""What tasks call the most tokens to write; the first one counts."""
NUM_TOKENS = 256
"""The most tokens where a task does not say it, as in lm-eval."""
NEUTRAL = {"top_k": 0, "num_beams": 1, "repetition_penalty": 1, "min_p": 0}
"""Settings that are not supported, and the values that change nothing."""


@dataclass(frozen=True)
class Writing:
    """Settings that are the same for all tasks.

    Attributes:
        bytes_per_token: Bytes for each token of a task's limit, for models that read bytes: limits
            are made for subwords.
        seed: Of sampled texts.
    """

    bytes_per_token: float | int
    seed: int

    def of(
        self, task_settings: Mapping[str, Any], evaluated: EvaluatedModel
    ) -> tuple[Sampling, list[str]]:
        """How tokens are chosen for one request of a task, and the texts to stop at.

        A ValueError says that the task wants something else than sampling by temperature and top-p.
        """
        settings = dict(task_settings)
        until = settings.pop("until", None) or []
        lengths = [settings.pop(name, None) for name in LENGTHS]
        most = next((int(length) for length in lengths if length is not None), NUM_TOKENS)
        temperature = float(settings.pop("temperature", 0.0) or 0.0)
        if not settings.pop("do_sample", temperature > 0):
            temperature = 0.0
        top_p = float(settings.pop("top_p", 1.0) or 1.0)
        wrong = {k: v for k, v in settings.items() if v is not None and v != NEUTRAL.get(k)}
        if wrong:
            raise ValueError(
                f"a task generates with {wrong}, which is not supported: known are until, "
                f"do_sample, temperature, top_p and {LENGTHS[0]}. Set them to None "
                "(null) in gen_kwargs (harness.lm_eval.gen_kwargs), or leave the task out."
            )
        if reads_bytes(evaluated):
            most = round(most * self.bytes_per_token)
        texts = [until] if isinstance(until, str) else [str(text) for text in until]
        return Sampling(most, None, temperature, top_p, self.seed), texts


def reads_bytes(evaluated: EvaluatedModel) -> bool:
    """Whether each token of a model is a byte at most."""
    return int(evaluated.view.byte_lengths.max()) <= 1
