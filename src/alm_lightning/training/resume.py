"""Whether a run may go on from a checkpoint of another."""

import copy
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from alm_lightning.renamed import with_current_names

CONTINUED = (
    "corpus",
    "on_bad_document",
    "windows.cut_bytes",
    "windows.dataset._target_",
    "windows.dataset.windows_per_document",
    "windows.dataset.shuffle_buffer",
    "chat",
    "alignment",
    "budget.steps",
    "budget.batch_size",
    "budget.student_length",
    "budget.teacher_length",
    "budget.learning_rate",
    "seed",
    "objective",
    "balance",
    "on_policy",
    "optimizer",
    "schedule",
    "student.name",
    "teacher.name",
    "teacher.scores.identity",
    "teacher.scores.weights",
    "teacher.scores.combine",
    "tokenizer",
    "embeddings",
    "adapter",
)
"""Settings that a run which continues another must share with it, or its curve would not go on."""

FREE = (
    "adapter.share_body",
    "alignment.workers",
    "alignment.cache_folder",
    "on_policy.engine.memory_share",
    "on_policy.engine.sleeps",
    # one kernel for all weights, or one for each
    "optimizer.fused",
)
"""Settings among them that change nothing but where and how quickly something is computed."""


EARLIER = {
    "adapter.train_embeddings": True,
    "corpus.split_by": "document",
    "corpus_other.split_by": "document",
    "objective.bpm.inside": False,
    "objective.hidden_states.fades_by": None,
    "objective.next_byte.divergence": "kl",
    "objective.hidden_states.projection": None,
    "objective.hidden_states.learning_rate": 1e-3,
    "on_policy._target_": "alm_lightning.training.on_policy.OnPolicy",
    "on_policy.share": 0.0,
    "on_policy.begins": 0.0,
    "on_policy.rises": 0.0,
    "on_policy.temperature": 1.0,
    "on_policy.top_p": 1.0,
    "on_policy.max_new_tokens": 64,
    "on_policy.every": 4,
    "on_policy.batch_size": 16,
    "on_policy.prompt_bytes": 64,
    "on_policy.engine._target_": "alm_lightning.training.on_policy.TransformersSettings",
    "teacher.scores.weights": None,
    "teacher.scores.combine": "losses",
    "tokenizer.special_tokens": "keep",
    "windows.cut_bytes": None,
}
"""What runs did from before these were settings."""


def completed(then: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of an older run, with what it did from before there were settings of it.

    Args:
        then: The older configuration, nested.
        config: The configuration of today, for the settings that it has.

    Returns:
        A copy with the settings of `EARLIER` that it lacks and `config` has.
    """
    made = copy.deepcopy(dict(then))
    known, has = _flat(made, ""), _flat(config, "")
    for key, value in EARLIER.items():
        if key in has and key not in known:
            *path, name = key.split(".")
            node = made
            for part in path:
                # a term that was null has no settings
                node = node.setdefault(part, {}) if isinstance(node, dict) else None
            if isinstance(node, dict):
                node[name] = value
    return made


def saved_config(path: Path) -> Mapping[str, Any]:
    """The configuration of the run that wrote a checkpoint; its weights are not read.

    Args:
        path: A checkpoint that is a file.

    Returns:
        The configuration.

    Raises:
        ValueError: The file is damaged, or no checkpoint of a run.
    """
    try:
        found = torch.load(path, map_location="cpu", mmap=True, weights_only=False)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"{path} (ckpt_path) can't be read as a checkpoint: {error}. The file is damaged or "
            "was cut off: take another one of the run, in its folder under checkpoints/."
        ) from error
    if not isinstance(found, Mapping) or "config" not in found:
        raise ValueError(
            f"{path} (ckpt_path) has no settings of a run: expected a checkpoint that train.py "
            "wrote, in a run's folder under checkpoints/. A model's weights are given by "
            "student=folder student.source.path=..."
        )
    config: Mapping[str, Any] = found["config"]
    return config


def check_continued(stopped: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Refuses to continue a run with settings that its loss curve would not go on with.

    Args:
        stopped: The configuration of the run that was stopped.
        config: The configuration of this one.

    Raises:
        ValueError: They differ in one of `CONTINUED`.
    """
    before, now = _compared(with_current_names(stopped)), _compared(config)
    for key, value in EARLIER.items():
        # full fine-tuning has no such setting, now or then
        if key in now:
            before.setdefault(key, value)
    lines = [
        f"  {key}: {before.get(key, 'not set')!r} then, {now.get(key, 'not set')!r} now"
        for key in sorted(before.keys() | now.keys())
        if key not in before or key not in now or before[key] != now[key]
    ]
    if lines:
        raise ValueError(
            "the checkpoint is of a run with other settings, whose loss curve would not go on:\n"
            + "\n".join(lines)
            + "\nGive the settings of the run that was stopped, or leave ckpt_path out. To train "
            "its model further with other settings: student=folder student.source.path=<its "
            "folder>/model tokenizer=own embeddings=own."
        )


def _compared(config: Mapping[str, Any]) -> dict[str, object]:
    flat = _flat(config, "")
    return {
        key: value
        for key, value in flat.items()
        if key not in FREE and any(key == name or key.startswith(f"{name}.") for name in CONTINUED)
    }


def _flat(node: Mapping[str, Any], prefix: str) -> dict[str, object]:
    """Nested mappings as one with dotted keys; an empty one is a value too."""
    flat: dict[str, object] = {}
    for name, value in node.items():
        key = f"{prefix}{name}"
        flat |= _flat(value, f"{key}.") if isinstance(value, Mapping) and value else {key: value}
    return flat
