"""What vLLM reads from the process that it runs in, and what it changes there."""

import logging
import os
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import distributed

IN_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
"""Without it vLLM's engine is a process of its own, which weights can't be handed to."""
UNLESS_ASKED = {"VLLM_NO_USAGE_STATS": "1"}
"""vLLM reports to its makers on which machine and model it runs, unless it is told not to."""


@contextmanager
def launched(device: torch.device) -> Iterator[None]:
    """Says who this process is, as vLLM asks the environment under an external launcher.

    Where training has a process group, vLLM makes groups of one rank within it, so that all ranks
    must call. A single process has none; vLLM makes one, which then stays.

    Args:
        device: The rank's own.
    """
    if distributed.is_available() and distributed.is_initialized():
        rank, size = distributed.get_rank(), distributed.get_world_size()
        own = {}
    else:
        rank, size = 0, 1
        own = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    own |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(device.index or 0)}
    before = {name: os.environ.get(name) for name in own}
    # these are read later, too
    os.environ |= IN_PROCESS
    for name, value in UNLESS_ASKED.items():
        os.environ.setdefault(name, value)
    os.environ |= own
    # it tries a chat template out, for which there is no tokenizer, and shows the traceback
    warm_up = logging.getLogger("vllm.renderers.base")
    level = warm_up.level
    warm_up.setLevel(logging.ERROR)
    try:
        yield
    finally:
        warm_up.setLevel(level)
        for name, old in before.items():
            if old is None:
                del os.environ[name]
            else:
                os.environ[name] = old


@contextmanager
def kept_state(device: torch.device) -> Iterator[None]:
    """Leaves random numbers and the precision of products as training has them.

    vLLM seeds all generators of the process, and sets the precision of float32 products.

    Args:
        device: Whose generator is kept beside those of the processor.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  (it is seeded)
    precision = torch.get_float32_matmul_precision()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_float32_matmul_precision(precision)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
