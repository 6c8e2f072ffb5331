"""The trained student as a folder, with a model card that says how it was made."""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path

from alm_lightning.distillation.models import ModelInput, TeacherInput
from alm_lightning.distillation.rows import TeacherRows
from alm_lightning.export.card import Value, model_card
from alm_lightning.export.folder import export_folder
from alm_lightning.models.bytes.byte_lm import ByteForCausalLM
from alm_lightning.models.loading import torch_dtype
from alm_lightning.models.pair import Scorer

log = logging.getLogger(__name__)
SHOWN = ("bits_per_byte", "bits_per_byte_other", "chunk_difference", "steps")
"""Figures of a run that are on the model card."""


def export_student(
    student: Scorer,
    folder: Path,
    *,
    base: ModelInput,
    teacher: TeacherInput,
    terms: Collection[str],
    recipe: Mapping[str, Value],
    summary: Mapping[str, object],
    dtype: str,
    teacher_rows: TeacherRows | None,
) -> Path:
    """Writes the student as a folder that transformers loads.

    Args:
        student: The trained student.
        folder: Must not exist yet.
        base: The model that the student started as.
        teacher: The model that taught.
        terms: Names of the terms of the loss.
        recipe: The run's settings, by name.
        summary: Its figures.
        dtype: Of the weights on disk.
        teacher_rows: Of a teacher whose vocabulary the student was moved to.

    Returns:
        The folder.
    """
    card = model_card(
        title=f"{base.name} as a model over {student.view.name}",
        base_model=base.name,
        license_note=_licences(base, teacher),
        how_made=how_made(teacher.name, student.view.name, terms, dtype),
        recipe=recipe,
        figures=flat({name: summary[name] for name in SHOWN if name in summary}),
        is_byte_model=isinstance(student.model, ByteForCausalLM),
    )
    num_rows = None if teacher_rows is None else teacher_rows.number
    if teacher_rows is not None and num_rows is None:
        log.warning(
            "the student has the vocabulary of %s, and the store does not say how many rows of "
            "embeddings that model has: none are added to the student's %s. A draft needs exactly "
            "as many as its target, which python evaluate.py model=%s harness=draft "
            "harness.draft.target=... checks.",
            teacher.name,
            f"{student.model.get_output_embeddings().weight.shape[0]:,}",
            folder,
        )
    eos, *stops = student.model.generation_config.eos_token_id
    export_folder(
        student.model,
        student.view.hf,
        folder,
        card=card,
        dtype=torch_dtype(dtype),
        stop_ids=[index for index in stops if index != eos],
        num_rows=num_rows,
    )
    log.info("exported to %s", folder)
    return folder


def _licences(base: ModelInput, teacher: TeacherInput) -> str:
    if teacher.name == base.name:
        return base.licence
    return f"{base.licence}. It learned from {teacher.name}: {teacher.licence}."


def how_made(teacher: str, tokenizer: str, terms: Collection[str], dtype: str) -> str:
    """The paragraph of a model card on the method.

    Args:
        teacher: The teacher's name.
        tokenizer: The name of the student's tokenizer.
        terms: Names of the terms of the loss.
        dtype: Of the weights on disk.

    Returns:
        The paragraph.
    """
    # the terms of objective=next_token ask no teacher
    verb = f"distilling {teacher} into" if list(terms) != ["next_token"] else "training"
    alm = (
        " The method is Approximate Likelihood Matching (Minixhofer, Vulić and Ponti, "
        "arXiv:2503.20083)."
    )
    return (
        f"Made with ALM Lightning by {verb} a student with the tokenizer {tokenizer}, by the "
        f"terms {', '.join(terms)}.{alm if 'alm' in terms else ''} The figures are those of the "
        f"student before its weights were rounded to {dtype}."
    )


def flat(node: object, prefix: str = "") -> dict[str, Value]:
    """Nested plain containers as one mapping with dotted names.

    Args:
        node: A mapping, a list or a plain value.
        prefix: The name of the node.

    Returns:
        Plain values by name; a list as its text.
    """
    if isinstance(node, Mapping):
        parts = [
            flat(value, f"{prefix}.{key}" if prefix else str(key)) for key, value in node.items()
        ]
        return {name: value for part in parts for name, value in part.items()}
    if node is None or isinstance(node, str | int | float):
        return {prefix: node}
    return {prefix: str(node)}
