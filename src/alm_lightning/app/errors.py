"""Errors that the user can fix: shown as one sentence, with the traceback in the log file."""

import dis
import functools
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from hydra.errors import CompactHydraException, InstantiationException
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationToMissingValueError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)
from safetensors import SafetensorError

from alm_lightning.app.memory import lack_of_memory, memory_sentence
from alm_lightning.training.diverged import Diverged

Result = TypeVar("Result")

OWN = (ValueError, OSError, ImportError, RuntimeError, Diverged)
"""Errors that this project raises for wrong input, or for a run that diverged."""
NEVER = (NotImplementedError, ConfigAttributeError, ConfigKeyError)
"""Subclasses of these that are bugs of the program."""
WRONG_CALL = re.compile(
    r"Error locating target|unexpected keyword argument|missing \d+ required|positional argument"
)
"""Hydra's message where a ``_target_`` or its arguments do not exist."""
MISSING = re.compile(r"Missing mandatory value: ([\w.@]+)")
"""OmegaConf's message where a setting is that of another one, which was not given."""
ANYWHERE = (OSError, MisconfigurationException, OmegaConfBaseException, SafetensorError)
"""Errors that the user can fix wherever they are raised: files, the network, damaged weights,
settings that Lightning or OmegaConf refuse."""


class UserError(CompactHydraException):
    """An error that Hydra prints as it is, without a traceback."""


def explained(task: Callable[[DictConfig], Result]) -> Callable[[DictConfig], Result]:
    """A task function of Hydra's that shows errors of the user as one sentence.

    They become a `UserError`; other errors are not changed. The traceback goes to the log file;
    with ``HYDRA_FULL_ERROR=1`` it is shown as well.
    """

    @functools.wraps(task)
    def run(cfg: DictConfig) -> Result:
        try:
            return task(cfg)
        except Exception as error:
            sentence = sentence_of(error, cfg)
            if sentence is None:
                raise
            files = "".join(f"\nThe traceback is in {file}" for file in _log(error))
            is_shown = bool(os.environ.get("HYDRA_FULL_ERROR"))
            # Hydra would print a cause that is OmegaConf's once more, in OmegaConf's words
            is_hidden = isinstance(error, OmegaConfBaseException) and not is_shown
            raise UserError(f"error: {sentence}{files}") from (None if is_hidden else error)

    return run


def sentence_of(error: BaseException, cfg: DictConfig | None = None) -> str | None:
    """The sentence that is shown for an error; None for a bug, which needs its traceback.

    Where memory was too small, it names settings of `cfg` that help.
    """
    if isinstance(error, InstantiationException):
        inner = None if error.__cause__ is None else sentence_of(error.__cause__, cfg)
        if inner is None:
            # an unknown class or setting, in Hydra's words; otherwise a bug in the constructor
            return str(error) if WRONG_CALL.search(str(error)) else None
        _, found, place = str(error).rpartition("full_key: ")
        return f"{inner} (in {place})" if found else inner
    if isinstance(error, CompactHydraException):
        return str(error)
    lack = lack_of_memory(error)
    if lack is not None:
        return memory_sentence(lack, cfg)
    if isinstance(error, InterpolationToMissingValueError) and (
        found := MISSING.search(str(error))
    ):
        return _not_given(found[1])
    if isinstance(error, MissingMandatoryValue):
        return _not_given(str(error.full_key))
    if isinstance(error, NEVER):
        return None
    if isinstance(error, ANYWHERE) or (isinstance(error, OWN) and _is_raised_here(error)):
        return str(error)
    return None


def _not_given(key: str) -> str:
    return f"{key} has no default and was not given. Set {key}=..."


def _is_raised_here(error: BaseException) -> bool:
    """Whether a ``raise`` of this project made the error, not a failing call in its code.

    A failing call of numpy's has the same frames as a ``raise``; the instruction differs.
    """
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if place is None:
        return False
    module = place.tb_frame.f_globals.get("__name__", "")
    return module.partition(".")[0] == "alm_lightning" and _is_raise(place)


def _is_raise(place: TracebackType) -> bool:
    return place.tb_frame.f_code.co_code[place.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def _log(error: BaseException) -> Iterator[str]:
    """Writes the traceback to log files; the names of those that took it."""
    details = (type(error), error, error.__traceback__)
    record = logging.LogRecord(
        __name__, logging.ERROR, __file__, 0, "ended by an error", None, details
    )
    files = [h for h in logging.getLogger().handlers if isinstance(h, logging.FileHandler)]
    # on a full disk, logging would show its own failure in place of the error
    shows, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        for handler in files:
            file = Path(handler.baseFilename)
            size = file.stat().st_size if file.exists() else 0
            handler.handle(record)
            if file.exists() and file.stat().st_size > size:
                yield os.path.relpath(file)
    finally:
        logging.raiseExceptions = shows
