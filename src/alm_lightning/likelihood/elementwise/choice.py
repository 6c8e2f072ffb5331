"""Which operations a device gets for its blocks of logits."""

import importlib.util
import warnings
from functools import cache

import torch

from alm_lightning.likelihood.elementwise.reference import TorchOperations
from alm_lightning.likelihood.products import Precision


def operations_for(
    device: torch.device, precision: Precision, softcap: float | int | None
) -> TorchOperations:
    """The operations on blocks of logits on a device.

    Kernels on CUDA, where Triton is installed (which CUDA builds of torch for Linux bring along);
    torch's operations elsewhere, and for float64, which kernels do not take.

    Args:
        device: Where the blocks are.
        precision: Types of their numbers.
        softcap: Bound of the logits' magnitude, if there is one.

    Returns:
        Operations for one pass over the logits.
    """
    if device.type == "cuda" and precision.sums == torch.float32:
        return _on_cuda()(softcap)
    return TorchOperations(softcap)


@cache
def _on_cuda() -> type[TorchOperations]:
    """Kernels, or torch's operations where there is no Triton; asked for once in a process."""
    if importlib.util.find_spec("triton") is None:
        return TorchOperations
    try:
        # not at the top: most machines have no Triton, and no use for it
        from alm_lightning.likelihood.elementwise.kernels import KernelOperations
    # whatever it is: an installation can be broken in many ways
    except Exception as error:
        warnings.warn(
            "Triton is installed, but cannot be imported, so that the loss takes torch's "
            f"operations in place of its kernels, which are slower and as exact. The reason: "
            f"{type(error).__name__}: {error}. Install the triton that belongs to torch "
            f"{torch.__version__}.",
            RuntimeWarning,
            stacklevel=2,
        )
        return TorchOperations
    return KernelOperations
