"""Overrides of Hydra's command line: as they were typed, parsed, and texts as their values."""

import re
from collections.abc import Iterable
from typing import cast

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import ListConfig, OmegaConf

_BEFORE_QUOTE = re.compile(r"(\\*)(?='|$)")
"""Backslashes before a quote or the end, and nowhere else, are escapes."""


def quoted(text: str) -> str:
    r"""A text as a value that Hydra's grammar reads as the same text.

    Args:
        text: Any text.

    Returns:
        The text between quotes, with backslashes before a quote, and at the end, doubled.

    Example:
        >>> quoted("it's, a=folder")
        "'it\\'s, a=folder'"
    """
    escaped = _BEFORE_QUOTE.sub(lambda found: found[1] * 2, text).replace("'", "\\'")
    return f"'{escaped}'"


def as_typed(overrides: ListConfig | list[str]) -> list[str]:
    """Overrides of `HydraConfig` as they were typed: OmegaConf would resolve ``${...}`` in them.

    Hydra's schema declares them as a list; they are a `ListConfig`.
    """
    return cast("list[str]", OmegaConf.to_container(overrides, resolve=False))


def task_overrides() -> list[str]:
    """Overrides of the running program as they were typed; empty outside of Hydra."""
    return as_typed(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def parsed(overrides: Iterable[str]) -> list[Override]:
    """Overrides, parsed by Hydra's grammar."""
    return OverridesParser.create().parse_overrides(list(overrides))
