"""The command line before Hydra parses it: models and tokenizers by their place, and ``~``."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

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


def place_arguments(arguments: Sequence[str]) -> list[str]:
    """Arguments in the form that Hydra reads, with places of models spelled out.

    ``student=PATH`` stands for ``student=folder student.source.path=PATH``, and
    ``student=OWNER/NAME`` for ``student=hub student.source.hub_id=OWNER/NAME``; likewise for
    ``teacher`` and ``tokenizer``. A path begins with ``/``, ``./``, ``../`` or ``~``, or is that of
    a folder and has a slash. A ``~`` at the start of any value is spelled out.

    Args:
        arguments: Of the command line, without the program.

    Returns:
        The arguments, others unchanged.

    Example:
        >>> place_arguments(["student=/models/my llama", "tokenizer=Qwen/Qwen2-7B", "budget=quick"])
        ... # doctest: +NORMALIZE_WHITESPACE
        ['student=folder', "student.source.path='/models/my llama'",
         'tokenizer=hub', "tokenizer.source.weights.hub_id='Qwen/Qwen2-7B'", 'budget=quick']
    """
    return [found for argument in arguments for found in _spelled(argument)]


def _spelled(argument: str) -> list[str]:
    key, equals, value = argument.partition("=")
    if not equals or not value:
        return [argument]
    is_home = bool(HOME.fullmatch(value))
    path = os.path.expanduser(value) if is_home else value
    if key in HUB and not any(sign in value for sign in "[]{}(),'\""):
        if (
            is_home
            or value.startswith(("/", "./", "../"))
            or ("/" in value and Path(path).is_dir())
        ):
            return [f"{key}=folder", f"{key}.source.path={quoted(path)}"]
        if HUB_ID.fullmatch(value):
            return [f"{key}=hub", f"{HUB[key]}={quoted(value)}"]
    return [f"{key}={quoted(path)}"] if is_home else [argument]
