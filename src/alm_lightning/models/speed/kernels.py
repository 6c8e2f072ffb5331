"""Liger's kernels, in the modules of a model.

Reference: Hsu et al. (2024), "Liger Kernel: Efficient Triton Kernels for LLM Training",
arXiv:2410.10989. Its cross-entropy is left out: losses here come from hidden states.
"""

import importlib.util
import inspect
import logging

from transformers import PreTrainedModel

from alm_lightning.likelihood.hardware import uses_cuda

log = logging.getLogger(__name__)

KERNELS = ("rope", "rms_norm", "geglu", "swiglu")
"""Liger's names of what is used; each family has some of them."""
LOSSES = ("cross_entropy", "fused_linear_cross_entropy")


def check_liger(device: str) -> None:
    """Refuses Liger's kernels where they can't run.

    Args:
        device: The accelerator of the run, as Lightning names it.

    Raises:
        ValueError: There is no CUDA.
        ImportError: They are not installed.
    """
    if not uses_cuda(device):
        raise ValueError(
            "speed.liger is true, but its kernels are for CUDA, and this run computes elsewhere. "
            "Take speed.liger=false, or trainer=gpu on a machine with a GPU."
        )
    if importlib.util.find_spec("liger_kernel") is None:
        raise ImportError(
            "speed.liger is true, but liger-kernel is not installed. Install it with `pip install "
            "'alm-lightning[gpu]'`, or take speed.liger=false."
        )


def use_liger(model: PreTrainedModel) -> None:
    """Puts Liger's kernels into a model, in place.

    Rotations and norms are replaced in the family's module as well: for each model of that family
    that is made or called in this process later.

    Args:
        model: A causal language model.

    Raises:
        ValueError: Liger has no kernels for its family.
    """
    # only where it is asked for: it is an extra
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN

    decoder = model.get_decoder()
    # a byte model has a decoder of the family around which it is made
    body = getattr(decoder, "body", decoder)
    family = body.config.model_type
    if family not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise ValueError(
            f"speed.liger is true, but Liger has no kernels for {type(model).__name__} "
            f"({family}). Take speed.liger=false."
        )
    put = MODEL_TYPE_TO_APPLY_LIGER_FN[family]
    known = inspect.signature(put).parameters
    used = {name: True for name in KERNELS if name in known}
    put(model=body, **used, **{name: False for name in LOSSES if name in known})
    log.info("Liger's kernels in %s: %s", type(model).__name__, ", ".join(used))
