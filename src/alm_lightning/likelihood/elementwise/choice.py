"""Which operations a device gets for its blocks of logits."""

import torch

from alm_lightning.likelihood.elementwise.reference import TorchOperations
from alm_lightning.likelihood.products import Precision


def operations_for(
    device: torch.device, precision: Precision, softcap: float | int | None
) -> TorchOperations:
    """The operations on blocks of logits on a device."""
    return TorchOperations(softcap)
