"""Docstrings as the site shows them: formulas written for Sphinx, and examples, become blocks."""

import re
from typing import Any

import griffe

MATH = re.compile(
    r"^(?P<indent> *)\.\. math:: *(?P<formula>.*(?:\n(?P=indent) +\S.*)*)", re.MULTILINE
)


def as_block(match: re.Match[str]) -> str:
    """A directive as a fenced block of LaTeX."""
    indent = match["indent"]
    lines = [line.strip() for line in match["formula"].splitlines() if line.strip()]
    return "\n".join(indent + line for line in ("```latex", *lines, "```"))


class Blocks(griffe.Extension):
    """Rewrites `.. math::` and `Example:` of every docstring."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called by griffe for each module, class, function and attribute."""
        if obj.docstring is not None:
            # griffe knows doctests only below the plural
            text = re.sub(
                r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE
            )
            obj.docstring.value = MATH.sub(as_block, text)
