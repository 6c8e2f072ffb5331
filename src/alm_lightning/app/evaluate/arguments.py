"""The arguments `model=` and `prompt=` of evaluate.py, before Hydra parses them.

Hydra's own parser refuses a path with an equal sign or a parenthesis that is not quoted, and would
read a prompt such as ``[x]`` or ``42`` as a list or a number.
"""

import re
from collections.abc import Sequence

from alm_lightning.app.hydra.overrides import quoted

ENSEMBLE = "ensemble"
_REFERENCE = re.compile(r"(\\*)\$\{")
"""The start of an interpolation, with the backslashes before it."""


def model_arguments(arguments: Sequence[str]) -> list[str]:
    """Command-line arguments in the form that Hydra reads.

    ``model=PATH`` stands for ``model.path=PATH``, quoted where it is a single path;
    ``model=[a,b]`` for ``model.path=[a,b]``; and ``model=ensemble`` for ``model.kind=ensemble``. A
    prompt is quoted, and ``${...}`` in it is escaped, since it is text, not an interpolation.

    Args:
        arguments: Of the command line, without the program.

    Returns:
        The arguments, others unchanged.

    Example:
        >>> model_arguments(["model=my run/model", "harness=blimp"])
        ["model.path='my run/model'", 'harness=blimp']
        >>> model_arguments(["model=ensemble", "model.members=[a,b]"])
        ['model.kind=ensemble', 'model.members=[a,b]']
    """
    return [_spelled(argument) for argument in arguments]


def _spelled(argument: str) -> str:
    name, equals, value = argument.partition("=")
    if name == "prompt" and equals:
        # text, even if it looks like a list, a number or a sweep
        if _is_quoted(value):
            return f"prompt={_REFERENCE.sub(_escaped_once, value)}"
        return f"prompt={quoted(_REFERENCE.sub(_escaped, value))}"
    if name != "model" or not equals:
        return argument
    if value == ENSEMBLE:
        return f"model.kind={ENSEMBLE}"
    # lists, sweeps and quoted values are for Hydra's parser
    if not value or value[0] in "['\"" or "," in value or value == "null":
        return f"model.path={value}"
    return f"model.path={quoted(value)}"


def _escaped(found: re.Match[str]) -> str:
    return found[1] * 2 + r"\${"


def _escaped_once(found: re.Match[str]) -> str:
    """The same where backslashes are Hydra's: an odd number of them has escaped it already."""
    return found[0] if len(found[1]) % 2 else found[1] + r"\${"


def _is_quoted(value: str) -> bool:
    return len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
