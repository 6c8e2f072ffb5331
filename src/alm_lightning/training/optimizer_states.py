"""Optimizer states by names of parameters, and by their numbers as a single device saves them."""

from collections.abc import Mapping
from typing import Any


def by_number(named: Mapping[str, Any]) -> dict[str, Any]:
    """A state by names as `torch.optim.Optimizer.state_dict` gives it.

    Args:
        named: ``state`` and ``param_groups``, as of torch's `get_optimizer_state_dict`.

    Returns:
        The same, with the numbers of parameters in the order of the groups.
    """
    names = [name for group in named["param_groups"] for name in group["params"]]
    numbers = {name: number for number, name in enumerate(names)}
    return {
        "state": {numbers[name]: value for name, value in named["state"].items()},
        "param_groups": [
            {**group, "params": [numbers[name] for name in group["params"]]}
            for group in named["param_groups"]
        ],
    }


def by_name(numbered: Mapping[str, Any], names: Mapping[int, str]) -> dict[str, Any]:
    """The reverse of `by_number`.

    Args:
        numbered: A state as an optimizer gives it.
        names: From the number of a parameter to its name.

    Returns:
        The state by names.
    """
    return {
        "state": {names[number]: value for number, value in numbered["state"].items()},
        "param_groups": [
            {**group, "params": [names[number] for number in group["params"]]}
            for group in numbered["param_groups"]
        ],
    }
