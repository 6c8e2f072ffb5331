"""Arguments of `distill` that do not go together, found before anything is read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alm_lightning.data.pairing import ChatSettings
from alm_lightning.distillation.inputs import Model, Taught, Tokenizer
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


def check_extra(extra: Mapping[str, Any]) -> None:
    """Refuses arguments of the trainer for which `distill` has one of its own, which is checked.

    Args:
        extra: What was given as ``trainer``.

    Raises:
        ValueError: There is such an argument.
    """
    for name, value in extra.items():
        if name in OWN_ARGUMENTS:
            own = OWN_ARGUMENTS[name]
            raise ValueError(
                f"trainer has {name}={value!r}, for which distill has an argument of its own: give "
                f"{own}=... in place of it."
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
    *,
    teacher_tokenizer: Tokenizer | None,
    keeps_tokenizer: bool,
    chat: ChatSettings | None,
    terms: Mapping[str, Objective],
) -> None:
    """Refuses what does not do for a teacher that is the model that the student starts as.

    Args:
        teacher_tokenizer: What was given as such.
        keeps_tokenizer: Whether the student has that model's tokenizer.
        chat: How chats are paired; None for the tokenizer's own template on both sides.
        terms: The terms of the loss.

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
    if keeps_tokenizer and has_one_template and all(t.needs_teacher for t in terms.values()):
        raise ValueError(
            "student and teacher are one model with one tokenizer, so that the student would learn "
            f"from itself: no term of the objective, {list(terms)}, learns from the text. Give "
            "teacher=..., or tokenizer='bytes', say; or take objective='next_token'."
        )
