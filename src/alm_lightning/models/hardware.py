"""What the hardware at hand multiplies quickly."""

import torch


def multiplies_bfloat16() -> bool:
    """Whether products in bfloat16 are no slower here than those in float32.

    Accelerators and newer processors (AMX, AVX-512 with bf16) have instructions for them. A
    processor with AVX2 alone takes six times as long as in float32.

    Returns:
        The word of CUDA where there is a device, else that of the processor.
    """
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
