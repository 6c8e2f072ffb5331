"""Texts as values of Hydra's grammar for overrides."""

import re

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
