"""What is made of a trained student: sample continuations, and the exported folder."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from alm_lightning.corpus.sources.source import AnyDocument
from alm_lightning.evaluation.generation.continuation import continuation
from alm_lightning.export.card import model_card
from alm_lightning.export.folder import export_folder
from alm_lightning.models.bytes.byte_lm import ByteForCausalLM
from alm_lightning.models.loading import torch_dtype
from alm_lightning.models.pair import Scorer

log = logging.getLogger(__name__)
PROMPT_CHARACTERS = 200
"""Long enough to tell what a text is about, short enough to read."""


def sample_continuations(
    cfg: DictConfig, student: Scorer, teacher: Scorer, documents: Sequence[AnyDocument]
) -> list[dict[str, str]]:
    """Continuations of held-out prompts by both models.

    Args:
        cfg: The whole configuration.
        student: The trained student.
        teacher: The teacher.
        documents: Held-out documents; the longest ones are continued from near their start, a chat
            as plain text.

    Returns:
        Prompt, what the document says, and what teacher and student say.
    """
    longest = sorted(documents, key=lambda document: -len(document.text))[: cfg.sample_prompts]
    samples = []
    for document in longest:
        # end on a word: a half one would test spelling alone
        prompt = document.text[:PROMPT_CHARACTERS].rsplit(" ", 1)[0]
        rest = document.text[len(prompt) :].encode()[: cfg.sample_bytes]
        samples.append(
            {
                "document": document.name,
                "prompt": prompt,
                "text": rest.decode("utf-8", errors="replace"),
                "teacher": continuation(teacher, prompt, num_bytes=cfg.sample_bytes),
                "student": continuation(student, prompt, num_bytes=cfg.sample_bytes),
            }
        )
    return samples


def export_student(cfg: DictConfig, student: Scorer, summary: Mapping) -> Path:
    """Writes the student as a folder that transformers loads.

    Args:
        cfg: The whole configuration.
        student: The trained student.
        summary: Figures of the run.

    Returns:
        The folder.
    """
    folder = Path(cfg.paths.output_dir) / "model"
    is_byte_model = isinstance(student.model, ByteForCausalLM)
    card = model_card(
        title=f"{cfg.student.name} as a model over {student.view.name}",
        base_model=cfg.student.name,
        license_note=_licences(cfg),
        how_made=_how_made(cfg, student.view.name),
        recipe=_recipe(cfg),
        figures=_flat(
            {
                name: summary[name]
                for name in ("bits_per_byte", "bits_per_byte_other", "chunk_difference", "steps")
            }
        ),
        is_byte_model=is_byte_model,
    )
    eos, *stops = student.model.generation_config.eos_token_id
    export_folder(
        student.model,
        student.view.hf,
        folder,
        card=card,
        dtype=torch_dtype(cfg.export_dtype),
        stop_ids=[index for index in stops if index != eos],
    )
    log.info("exported to %s", folder)
    return folder


def _licences(cfg: DictConfig) -> str:
    """The licence of the model that the student starts as, and of another teacher."""
    if cfg.teacher.name == cfg.student.name:
        return cfg.student.licence
    return f"{cfg.student.licence}. It learned from {cfg.teacher.name}: {cfg.teacher.licence}."


def _how_made(cfg: DictConfig, tokenizer: str) -> str:
    terms = [name for name, term in cfg.objective.items() if term is not None]
    # the terms of objective=next_token ask no teacher
    asked = f"distilling {cfg.teacher.name} into" if terms != ["next_token"] else "training"
    alm = (
        " The method is Approximate Likelihood Matching (Minixhofer, Vulić and Ponti, "
        "arXiv:2503.20083)."
    )
    return (
        f"Made with ALM Lightning by {asked} a student with the tokenizer {tokenizer}, by the "
        f"terms {', '.join(terms)}.{alm if 'alm' in terms else ''} The figures are those of the "
        f"student before its weights were rounded to {cfg.export_dtype}."
    )


def _recipe(cfg: DictConfig) -> dict[str, str | int | float | bool | None]:
    keys = (
        *("tokenizer", "embeddings", "adapter", "objective", "balance", "alignment"),
        *("optimizer", "schedule", "budget", "corpus"),
    )
    plain = OmegaConf.to_container(cfg, resolve=True)
    chosen = {key: plain[key] for key in keys} | {
        "trainer.precision": plain["trainer"]["precision"],
        "seed": cfg.seed,
    }
    return {name: value for name, value in _flat(chosen).items() if "_partial_" not in name}


def _flat(node: object, prefix: str = "") -> dict[str, str | int | float | bool | None]:
    """Nested plain containers as one mapping with dotted names."""
    if isinstance(node, Mapping):
        parts = [
            _flat(value, f"{prefix}.{key}" if prefix else str(key)) for key, value in node.items()
        ]
        return {name: value for part in parts for name, value in part.items()}
    return {prefix: str(node) if isinstance(node, list) else node}
