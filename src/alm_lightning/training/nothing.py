"""Zeros with a gradient: ranks wait for one of each parameter, whatever their losses read."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


def nothing_of(*modules: nn.Module) -> Float[Tensor, ""]:
    """A zero with a gradient of zero for each trained parameter of some modules.

    Args:
        *modules: The modules.

    Returns:
        The zero, where the first of their parameters is.
    """
    parameters = [parameter for module in modules for parameter in module.parameters()]
    device = parameters[0].device if parameters else torch.device("cpu")
    trained = (parameter for parameter in parameters if parameter.requires_grad)
    return sum((p.flatten()[:0].sum() for p in trained), start=torch.zeros((), device=device))
