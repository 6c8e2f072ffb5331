"""Several ranks (gloo, CPU), forked from the test: what it has made is there already."""

import os
import socket
import time
import traceback

import torch
from torch import multiprocessing

SECONDS = 240
"""After which ranks that wait for each other are ended."""


def on_ranks(work, world_size, folder):
    """Calls `work(rank)` on each rank as torchrun would, and gives what each rank returned."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_rank, args=(work, rank, world_size, port, folder))
        for rank in range(world_size)
    ]
    for process in processes:
        process.start()
    deadline = time.monotonic() + SECONDS
    while any(process.is_alive() for process in processes) and time.monotonic() < deadline:
        time.sleep(0.05)
        if any(process.exitcode for process in processes):
            # the others would wait for it
            break
    for process in processes:
        if process.is_alive():
            process.kill()
        process.join()
    errors = [path.read_text() for path in sorted(folder.glob("error_*"))]
    assert not errors, "\n".join(errors)
    assert [process.exitcode for process in processes] == [0] * world_size
    return [torch.load(folder / f"result_{rank}", weights_only=False) for rank in range(world_size)]


def _rank(work, rank, world_size, port, folder):
    """What torchrun sets, which Lightning reads."""
    os.environ |= {
        "TORCHELASTIC_RUN_ID": "test",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(world_size),
    }
    try:
        torch.save(work(rank), folder / f"result_{rank}")
    except BaseException:
        (folder / f"error_{rank}").write_text(traceback.format_exc())
        # not by way of pytest, of which this process is a copy
        os._exit(1)
    os._exit(0)
