"""Clocks and memory of the device at hand: CUDA's own, and the same questions asked of a CPU."""

import gc
import statistics
import time
from collections.abc import Callable

import torch

KIND = "cuda" if torch.cuda.is_available() else "cpu"
GIBIBYTE, MEBIBYTE = 2**30, 2**20


def wait() -> None:
    """Until the device has done all that it was told."""
    if KIND == "cuda":
        torch.cuda.synchronize()


def name() -> str:
    return torch.cuda.get_device_name() if KIND == "cuda" else "CPU"


def free() -> None:
    """Gives back what an error's traceback, or torch's own cache, still holds."""
    gc.collect()
    if KIND == "cuda":
        torch.cuda.empty_cache()


def seconds(work: Callable[[], object], *, repeats: int = 5, warm_up: int = 2) -> float:
    """Median time of some work."""
    times = []
    for number in range(warm_up + repeats):
        wait()
        started = time.perf_counter()
        work()
        # a card has only been told what to do
        wait()
        if number >= warm_up:
            times.append(time.perf_counter() - started)
    return statistics.median(times)


def extra_bytes(work: Callable[[], object]) -> int:
    """The most memory that some work holds beyond what was held before, its result included."""
    if KIND == "cuda":
        wait()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        kept = work()
        wait()
        peak = torch.cuda.max_memory_allocated()
        del kept
        return peak - before
    return allocated_on_cpu(work)


def allocated_on_cpu(work: Callable[[], object]) -> int:
    """The same on a CPU, where torch's profiler lists each block that is taken and given back."""
    cpu = torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[cpu], profile_memory=True) as profile:
        kept = work()
    del kept
    events = profile.profiler.kineto_results.events()
    blocks = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
    held = most = 0
    # sorted by time alone: a sort is stable, and equal times stay in their order
    for _, num_bytes in sorted(blocks, key=lambda block: block[0]):
        held += num_bytes
        most = max(most, held)
    return most


def product_rate(size: int) -> float:
    """Operations a second of a product of two square matrices in bfloat16, of random numbers."""
    left, right = (torch.randn(size, size, device=KIND).bfloat16() for _ in range(2))
    out = torch.empty_like(left)
    taken = seconds(lambda: torch.mm(left, right, out=out), repeats=20, warm_up=5)
    return 2 * size**3 / taken


def copy_rate(num_bytes: int) -> float:
    """Bytes a second that a copy reads and writes."""
    source = torch.zeros(num_bytes // 4, device=KIND)
    target = torch.empty_like(source)
    return 2 * num_bytes / seconds(lambda: target.copy_(source), repeats=10)
