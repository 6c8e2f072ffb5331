"""The most memory that a run has held."""

import resource
import sys

import torch


def forget_peak_memory() -> None:
    """Begins a new measurement on a GPU: what was held before, and given back, counts no more.

    A process may do several runs, or try sizes before one. What is resident in the memory of a
    machine has one peak for a whole process, which stays.
    """
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def peak_memory_bytes() -> int:
    """The most memory of a run.

    Returns:
        On the GPU, if this process used one, since `forget_peak_memory`; else what was resident,
        since the process began.
    """
    # a GPU of the host that this run does not use would say 0
    if torch.cuda.is_initialized() and torch.cuda.max_memory_allocated() > 0:
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
