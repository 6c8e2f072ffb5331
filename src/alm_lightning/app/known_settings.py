"""Refuses settings that nothing reads, such as a misspelt key added by ``+``.

Hydra itself refuses an unknown key, and advises to add it by ``+``; then it would have no effect.
"""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from alm_lightning.app.hydra.overrides import as_typed

OPEN = ("objective", "callbacks", "logger", "harness")
"""Groups whose parts may have any name."""
TEACHERS = ("scores", "server", "tokenizer")
"""Settings of a teacher that is no model: `conf/teacher/`."""
ADDED = ("bakeoff", "search")
"""Groups of `conf/sweep/`."""


def check_known(cfg: DictConfig) -> None:
    """Refuses settings that nothing reads.

    Keys of a node with ``_target_`` are not checked: its constructor refuses those that it does not
    know. A key that another setting refers to, as ``${mine.rate}``, is read by that setting.

    Args:
        cfg: The configuration of the running program.

    Raises:
        ValueError: A key is in no file of `conf/`; or a value is not valid Unicode, which the files
            of a run need.
    """
    _check_unicode(as_typed(HydraConfig.get().overrides.task))
    base = OmegaConf.to_container(compose(HydraConfig.get().job.config_name), resolve=False)
    if "student" in base:
        # any model can be the teacher, and what has the place of one
        more = dict.fromkeys((*base["student"], *TEACHERS))
        base["teacher"] = base["teacher"] | more
    written = OmegaConf.to_yaml(cfg) + OmegaConf.to_yaml(HydraConfig.get())
    referred = re.findall(r"\$\{(\.*)([\w.]+)", written)
    for key, others in _unknown(OmegaConf.to_container(cfg, resolve=False), base):
        if not any(_is_of(key, name, is_relative=bool(dots)) for dots, name in referred):
            raise ValueError(_unknown_message(key, others))


def _check_unicode(overrides: Sequence[str]) -> None:
    for override in overrides:
        try:
            override.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{override!r} is not UTF-8: the name of a file, or what the terminal sends, is in "
                "another encoding. Rename the file, or set LC_ALL=C.UTF-8."
            ) from error


def _unknown(given: Mapping, base: Mapping, prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """Keys that are not in `base`, and those that are beside them."""
    for key, value in given.items():
        if not prefix and key in ADDED:
            continue
        if key not in base:
            yield f"{prefix}{key}", [f"{prefix}{other}" for other in base]
        elif (prefix or key not in OPEN) and _is_plain(value) and _is_plain(base[key]):
            yield from _unknown(value, base[key], f"{prefix}{key}.")


def _is_of(key: str, name: str, *, is_relative: bool) -> bool:
    """Whether a reference by `name` is to a setting, or to one below it."""
    if is_relative:
        # whatever it is relative to
        return f".{name}.".startswith(f".{key.rpartition('.')[2]}.")
    return f"{name}.".startswith(f"{key}.")


def _is_plain(node: object) -> bool:
    return isinstance(node, Mapping) and "_target_" not in node


def _unknown_message(key: str, others: Collection[str]) -> str:
    like = difflib.get_close_matches(key, others, n=2)
    advice = f"Did you mean {' or '.join(like)}?" if like else "Leave it out."
    return f"{key} is set, but nothing reads it. {advice} There are: {', '.join(sorted(others))}."
