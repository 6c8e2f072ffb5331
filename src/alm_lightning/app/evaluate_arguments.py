"""The word `model=` of evaluate.py, which names a model, or says that several make an ensemble."""

from collections.abc import Sequence

ENSEMBLE = "ensemble"


def model_arguments(arguments: Sequence[str]) -> list[str]:
    """Command-line arguments in the form that Hydra reads.

    ``model=PATH`` stands for ``model.path=PATH``, quoted where it is one path, since Hydra's
    grammar would stumble over spaces and equal signs; ``model=[a,b]`` for ``model.path=[a,b]``; and
    ``model=ensemble`` for ``model.kind=ensemble``.

    Args:
        arguments: What follows the program's name.

    Returns:
        The same, with ``model=`` spelled out.

    Example:
        >>> model_arguments(["model=my run/model", "harness=blimp"])
        ["model.path='my run/model'", 'harness=blimp']
        >>> model_arguments(["model=ensemble", "model.members=[a,b]"])
        ['model.kind=ensemble', 'model.members=[a,b]']
    """
    return [_spelled(argument) for argument in arguments]


def _spelled(argument: str) -> str:
    name, equals, value = argument.partition("=")
    if name != "model" or not equals:
        return argument
    if value == ENSEMBLE:
        return f"model.kind={ENSEMBLE}"
    # lists, sweeps and what is quoted already are Hydra's own
    if not value or value[0] in "['\"" or "," in value or value == "null":
        return f"model.path={value}"
    escaped = value.replace("'", "\\'")
    return f"model.path='{escaped}'"
