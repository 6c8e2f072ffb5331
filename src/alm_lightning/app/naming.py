"""What a run is called when nobody names it: the experiment, or what is made of what."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, open_dict, read_write

MODELS = ("student", "teacher", "tokenizer")
"""Groups that say what is made of what. An experiment's name tells of its own choices alone."""
ANYWHERE = ("hub", "folder")
"""Options that stand for any model, so that the model's name has to be told."""
PART_OF_A_RUN = re.compile(r"model|checkpoints|[\d_.-]+")
"""Folders in the folder of a run: its time, and its model. The run's name comes before them."""


def name_run(config: DictConfig, overrides: Iterable[str], choices: DictConfig) -> None:
    """Names a run by what it makes of what, where its experiment's name would mislead.

    Args:
        config: The configuration; its ``name`` is set where the command line changes one of
            `MODELS` and gives no name.
        overrides: Of the command line.
        choices: The option of each group, by Hydra.
    """
    keys = [
        override.key_or_group
        for override in OverridesParser.create().parse_overrides(list(overrides))
    ]
    if "name" in keys or not any(key.partition(".")[0] in MODELS for key in keys):
        return
    with read_write(config), open_dict(config):
        config.name = _made_of(config, choices)


def name_job(config: DictConfig) -> None:
    """Names the run that Hydra is at work on; one of a sweep has models of its own.

    Args:
        config: What the run is told, without Hydra's own settings.
    """
    hydra = HydraConfig.get()
    name_run(config, hydra.overrides.task, hydra.runtime.choices)


def _made_of(config: DictConfig, choices: DictConfig) -> str:
    student = _label(choices.student, config.student.name)
    teacher = None if choices.teacher == "same" else _label(choices.teacher, config.teacher.name)
    if choices.tokenizer == "own":
        return f"{teacher or student}_to_{student}"
    tokenizer = _label(choices.tokenizer, config.tokenizer.get("name") or choices.tokenizer)
    return f"{student}_to_{tokenizer}" if teacher is None else f"{teacher}_to_{student}_{tokenizer}"


def _label(option: str, name: str) -> str:
    """The name of an option; of one that stands for any model, the last part of its own."""
    if option not in ANYWHERE:
        return option
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", "~", ".", "..")]
    while len(parts) > 1 and PART_OF_A_RUN.fullmatch(parts[-1]):
        parts.pop()
    # a name is part of a path, and of an override
    return re.sub(r"[^\w.-]+", "_", parts[-1]).strip("_.") if parts else option
