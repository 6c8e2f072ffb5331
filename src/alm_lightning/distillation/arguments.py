"""Arguments of `distill` that make no sense, or do not go together: refused before the start."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from alm_lightning.data.pairing import ChatSettings
from alm_lightning.distillation import options
from alm_lightning.distillation.checks import check_accelerator, check_trainer, check_validation
from alm_lightning.distillation.data import ON_BAD_DOCUMENT
from alm_lightning.distillation.inputs import Change, Model, Taught, Tokenizer
from alm_lightning.models.speed import Speed
from alm_lightning.objectives.objective import Objective

OWN_ARGUMENTS = {
    "accelerator": "accelerator",
    "devices": "devices",
    "precision": "precision",
    "max_steps": "steps",
    "limit_train_batches": "steps",
    "val_check_interval": "validate_every",
    "accumulate_grad_batches": "micro_batch_size",
    "gradient_clip_val": "gradient_clip",
    "gradient_clip_algorithm": "gradient_clip",
    "callbacks": "callbacks",
    "logger": "logger",
    "enable_checkpointing": "callbacks",
    "enable_progress_bar": "progress",
    "default_root_dir": "output_dir",
}
"""Of arguments of `lightning.Trainer`, the argument of `distill` that says the same."""


def check_run(*, steps: int, on_bad_document: str) -> None:
    """Refuses a run without steps, and what no bad document can meet with.

    Args:
        steps: What was given as such.
        on_bad_document: What was given as such.

    Raises:
        ValueError: One of them makes no sense.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}: expected at least 1.")
    if on_bad_document not in ON_BAD_DOCUMENT:
        raise ValueError(
            f"on_bad_document is {on_bad_document!r}: expected one of {', '.join(ON_BAD_DOCUMENT)}."
        )


def check_trainer_arguments(extra: Mapping[str, Any], *, precision: str, accelerator: str) -> None:
    """Refuses settings of the trainer that don't do, and those for which `distill` has its own.

    Args:
        extra: What was given as ``trainer``.
        precision: What was given as such.
        accelerator: What was given as such.

    Raises:
        ValueError: There is such a setting.
    """
    for name, value in extra.items():
        if name in OWN_ARGUMENTS:
            own = OWN_ARGUMENTS[name]
            raise ValueError(
                f"trainer has {name}={value!r}, for which distill has an argument of its own: give "
                f"{own}=... in place of it."
            )
    check_trainer(precision, extra.get("strategy", options.TRAINER["strategy"]))
    check_validation(extra.get("limit_val_batches"))
    check_accelerator(accelerator)


def check_given(models: Collection[PreTrainedModel], speed: Speed) -> None:
    """Refuses kernels that would stay in models that were given, which are left as they are.

    Args:
        models: Those that were given as objects.
        speed: How models compute.

    Raises:
        ValueError: There are both.
    """
    if speed.liger and models:
        raise ValueError(
            "speed.liger is true, and its kernels would stay in the model that was given. Give a "
            "folder or a name of the hub, or take liger=False."
        )


def is_one_model(student: Model, teacher: Taught | None) -> bool:
    """Whether the teacher is the model that the student starts as.

    Args:
        student: What was given as ``student``.
        teacher: What was given as ``teacher``.

    Returns:
        True where there is none, and for the same object, name or folder.
    """
    if teacher is None or teacher is student:
        return True
    if not (isinstance(student, str | Path) and isinstance(teacher, str | Path)):
        return False
    if str(student) == str(teacher):
        return True
    paths = [Path(each).expanduser() for each in (student, teacher)]
    return all(path.exists() for path in paths) and paths[0].samefile(paths[1])


def check_one_model(
    terms: Mapping[str, Objective],
    tokenizer: Tokenizer | Change | None,
    *,
    teacher_tokenizer: Tokenizer | None,
    chat: ChatSettings | None,
) -> None:
    """Refuses what does not do for a teacher that is the model that the student starts as.

    Args:
        terms: The terms of the loss.
        tokenizer: What was given as such; None where the student keeps that model's.
        teacher_tokenizer: What was given as such.
        chat: How chats are paired; None for the tokenizer's own template on both sides.

    Raises:
        ValueError: An argument would not be read, or the student would learn from itself alone.
    """
    if teacher_tokenizer is not None:
        raise ValueError(
            "teacher_tokenizer is given, and the teacher is the model that the student starts as, "
            "whose tokenizer is student_tokenizer. Leave teacher_tokenizer out, or give another "
            "teacher."
        )
    has_one_template = chat is None or chat.student_template == chat.teacher_template
    if tokenizer is None and has_one_template and all(t.needs_teacher for t in terms.values()):
        raise ValueError(
            "student and teacher are one model with one tokenizer, so that the student would learn "
            f"from itself: no term of the objective, {list(terms)}, learns from the text. Give "
            "teacher=..., or tokenizer='bytes', say; or take objective='next_token'."
        )
