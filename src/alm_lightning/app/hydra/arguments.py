"""The command line before Hydra parses it: models and tokenizers by their place, and ``~``."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from alm_lightning.app.hydra.model_groups import config_dirs
from alm_lightning.app.hydra.overrides import quoted

HUB = {
    "student": "student.source.hub_id",
    "teacher": "teacher.source.hub_id",
    "tokenizer": "tokenizer.source.weights.hub_id",
}
"""Groups of what may be anywhere, and the setting for an id of the hub."""
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
HOME = re.compile(r"~[\w.-]*(/[^,\[\]{}()'\"\\]*)?")
"""A path that starts with a home folder, and nothing of Hydra's grammar in it."""
GRAMMAR = frozenset("[]{}(),'\"")
"""Signs of lists, sweeps and quoted values, which are for Hydra's parser."""


def place_arguments(arguments: Sequence[str], conf: Path) -> list[str]:
    """Arguments in the form that Hydra reads, with places of models spelled out.

    ``student=PATH`` stands for ``student=folder student.source.path=PATH``, and
    ``student=OWNER/NAME`` for ``student=hub student.source.hub_id=OWNER/NAME``; likewise for
    ``teacher`` and ``tokenizer``. A path begins with ``/``, ``./``, ``../`` or ``~``, or has a
    slash and something is there. An option of the group stays one. A ``~`` at the start of any
    value is spelled out.

    Args:
        arguments: Of the command line, without the program.
        conf: The folder with the configuration; that of ``--config-dir`` has options as well.

    Returns:
        The arguments, others unchanged.

    Example:
        >>> place_arguments(["student=/models/my llama", "tokenizer=Qwen/Qwen2-7B"], Path("conf"))
        ... # doctest: +NORMALIZE_WHITESPACE
        ['student=folder', "student.source.path='/models/my llama'",
         'tokenizer=hub', "tokenizer.source.weights.hub_id='Qwen/Qwen2-7B'"]
    """
    folders = [conf, *config_dirs(arguments)]
    return [found for argument in arguments for found in _spelled(argument, folders)]


def _spelled(argument: str, folders: Sequence[Path]) -> Iterator[str]:
    key, equals, value = argument.partition("=")
    is_home = bool(equals and HOME.fullmatch(value))
    path = os.path.expanduser(value) if is_home else value
    if key in HUB and not GRAMMAR & {*value} and not _is_option(key, value, folders):
        starts = value.startswith(("/", "./", "../"))
        if is_home or starts or ("/" in value and Path(value).exists()):
            yield f"{key}=folder"
            yield f"{key}.source.path={quoted(path)}"
            return
        if HUB_ID.fullmatch(value):
            yield f"{key}=hub"
            yield f"{HUB[key]}={quoted(value)}"
            return
    # an option of the program, such as --config-dir, is none of Hydra's grammar
    yield f"{key}={path if key.startswith('-') else quoted(path)}" if is_home else argument


def _is_option(group: str, value: str, folders: Sequence[Path]) -> bool:
    """Whether a group has an option of this name: models are options of two groups."""
    groups = (group,) if group == "tokenizer" else (group, "model")
    return any((folder / each / f"{value}.yaml").is_file() for folder in folders for each in groups)
