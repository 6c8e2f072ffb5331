"""What a run adds to its figures: sample continuations, and its settings for the model card."""

from collections.abc import Sequence
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from alm_lightning.corpus.sources.source import AnyDocument
from alm_lightning.distillation.export import flat
from alm_lightning.evaluation.generation.texts import continuation
from alm_lightning.export.card import Value
from alm_lightning.models.pair import Scorer
from alm_lightning.scores.ensemble import Teaching

NOT_LOADED = "(not loaded: its scores were read)"
PROMPT_CHARACTERS = 200
"""Long enough to show what a text is about, short enough to read."""


def sample_continuations(
    student: Scorer,
    teacher: Teaching,
    documents: Sequence[AnyDocument],
    *,
    num_prompts: int,
    num_bytes: int,
) -> list[dict[str, str]]:
    """Continuations of held-out prompts by both models.

    Args:
        student: The trained student.
        teacher: The teacher; of a store of what it said, nothing is sampled.
        documents: Held-out documents; the longest ones are continued from near their start, a chat
            as plain text.
        num_prompts: How many documents.
        num_bytes: Length of a continuation.

    Returns:
        Prompt, what the document says, and what teacher and student say.
    """
    longest = sorted(documents, key=lambda document: -len(document.text))[:num_prompts]
    samples = []
    for document in longest:
        # end on a word: a half one would test spelling alone
        prompt = document.text[:PROMPT_CHARACTERS].rsplit(" ", 1)[0]
        rest = document.text[len(prompt) :].encode()[:num_bytes]
        samples.append(
            {
                "document": document.name,
                "prompt": prompt,
                "text": rest.decode("utf-8", errors="replace"),
                "teacher": continuation(teacher, prompt, num_bytes=num_bytes)
                if isinstance(teacher, Scorer)
                else NOT_LOADED,
                "student": continuation(student, prompt, num_bytes=num_bytes),
            }
        )
    return samples


def recipe(cfg: DictConfig) -> dict[str, Value]:
    """The settings of a run that a model card shows.

    Args:
        cfg: The whole configuration.

    Returns:
        Values by key.
    """
    keys = (
        *("tokenizer", "embeddings", "adapter", "objective", "balance", "alignment"),
        *("optimizer", "schedule", "budget", "corpus"),
    )
    plain = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    chosen = {key: plain[key] for key in keys} | {
        "trainer.precision": plain["trainer"]["precision"],
        "seed": cfg.seed,
    }
    return {name: value for name, value in flat(chosen).items() if "_partial_" not in name}
