"""What the hardware at hand multiplies quickly."""

import platform

import torch

X86 = ("x86_64", "amd64")
"""What `platform.machine` calls processors of Intel's and AMD's, in lower case."""


def uses_cuda(device: str = "auto") -> bool:
    """Whether a run computes on CUDA.

    Args:
        device: Its accelerator, by the name that torch or Lightning gives it.

    Returns:
        False on a machine without CUDA, and where the processor was asked for.
    """
    return device != "cpu" and torch.cuda.is_available()


def multiplies_bfloat16(device: str = "auto") -> bool:
    """Whether a device has instructions that multiply bfloat16.

    A device without them emulates bfloat16, which takes several times as long as float32: an
    AVX-512 processor four times, one with AVX2 alone six times. The instructions are asked for, and
    no time is measured, so that all processes of a run, and a run that is resumed, agree.

    Args:
        device: ``cpu``, or an accelerator by the name that torch or Lightning gives it; ``auto`` is
            an accelerator where there is one.

    Returns:
        The answer of CUDA where there is a device and it is not passed over for the processor, else
        that of the processor.
    """
    if uses_cuda(device):
        # CUDA answers yes for emulation, too, if it is not told otherwise (V100, T4)
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if not torch.backends.mkldnn.is_available():
        return False
    if platform.machine().lower() in X86:
        # oneDNN's own answer is yes for any AVX-512, where it emulates bfloat16 (Ice Lake)
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()
