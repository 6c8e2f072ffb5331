"""Texts as values of Hydra's grammar for overrides, and overrides as texts."""

import re

from omegaconf import ListConfig, OmegaConf

_BEFORE_QUOTE = re.compile(r"(\\*)(?='|$)")
"""Backslashes before a quote or the end, and nowhere else, are escapes."""


def quoted(text: str) -> str:
    r"""A text as a value that Hydra's grammar takes as it is.

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


def as_said(overrides: ListConfig) -> list[str]:
    """Overrides as they were typed, with references that stand in them left as they are.

    Args:
        overrides: Of `HydraConfig`, whose items OmegaConf would resolve, or fail to, when read.

    Returns:
        The overrides.
    """
    return OmegaConf.to_container(overrides, resolve=False)
