"""What is refused before anything large is read, and before the first step."""

import math
from collections.abc import Mapping
from numbers import Real
from pathlib import Path

from omegaconf import DictConfig

UNIFORM_BITS_PER_BYTE = 8.0
"""Bits per byte of a model that knows nothing: each of the 256 bytes alike."""


def check_settings(cfg: DictConfig) -> None:
    """Refuses settings that no constructor sees early enough.

    Args:
        cfg: The whole configuration.

    Raises:
        FileExistsError: If the run's folder holds a summary or an exported model already.
        FileNotFoundError: If there is no checkpoint at `ckpt_path`.
        ValueError: If the learning rate or a stop token makes no sense.
    """
    for name in ("model", "summary.json"):
        path = Path(cfg.paths.output_dir) / name
        if path.exists():
            raise FileExistsError(
                f"{path} exists, and a run never writes over another. Give another "
                "paths.output_dir, or leave it to its default, which holds the time."
            )
    if cfg.ckpt_path is not None and not Path(cfg.ckpt_path).is_file():
        raise FileNotFoundError(
            f"ckpt_path={cfg.ckpt_path}: there is no such checkpoint. Those of a run lie in its "
            "folder under checkpoints/, the newest as last.ckpt."
        )
    rate = cfg.budget.learning_rate
    if not isinstance(rate, Real) or not 0 < rate < math.inf:
        raise ValueError(
            f"budget.learning_rate is {rate!r}: expected a number above 0, such as 3.0e-4."
        )
    unknown = [t for t in cfg.student.stop_tokens if t not in cfg.student.special_tokens]
    if unknown:
        raise ValueError(
            f"student.stop_tokens has {unknown}, which are not among student.special_tokens "
            f"({list(cfg.student.special_tokens)}). Add them there, so that the student has them."
        )


def check_teacher(figures: Mapping[str, Mapping[str, float]], name: str) -> None:
    """Refuses a teacher that knows less than nothing of its own text.

    Vocabularies of the same size can't tell a tokenizer that is not the model's; its figures can.

    Args:
        figures: Figures before training, by evaluation set.
        name: What the error calls the teacher.

    Raises:
        ValueError: If the teacher needs more bits than a uniform guess on every evaluation set, or
            its likelihoods are not finite.
    """
    bits = {dataset: values["bits_per_byte_teacher"] for dataset, values in figures.items()}
    if not all(map(math.isfinite, bits.values())) or min(bits.values()) > UNIFORM_BITS_PER_BYTE:
        raise ValueError(
            f"the teacher {name} needs {bits} bits per byte, where guessing takes "
            f"{UNIFORM_BITS_PER_BYTE:.0f}: its weights and its tokenizer do not belong together, "
            "or its weights are broken. Load both from one revision of one model."
        )
