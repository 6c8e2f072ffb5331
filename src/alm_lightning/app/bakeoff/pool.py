"""Runs of a bake-off side by side: which devices each has, and how all of them are stopped."""

import os
import queue
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import IO

import torch


class Stopped(Exception):
    """A run ended, or was not begun, because all of the bake-off is being stopped."""


class Children:
    """Processes, no more at a time than there are environments."""

    def __init__(self, environments: Iterable[Mapping[str, str]] = ({},)):
        """Sets them up.

        Args:
            environments: Environment variables of a process beside those of this one, for each
                process that may run at a time.
        """
        self._free: queue.SimpleQueue[Mapping[str, str]] = queue.SimpleQueue()
        for environment in environments:
            self._free.put(environment)
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen] = set()
        self._is_stopped = False

    def run(self, command: Sequence[str], output: IO[bytes], kept_open: int) -> int:
        """Runs a process to its end, when an environment is free.

        Args:
            command: The program and its arguments.
            output: Where all that it prints goes.
            kept_open: A file descriptor that it inherits.

        Returns:
            Its exit code.

        Raises:
            Stopped: All were stopped.
        """
        environment = self._free.get()
        try:
            with self._lock:
                if self._is_stopped:
                    raise Stopped
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=[kept_open],
                    env={**os.environ, **environment},
                )
                self._running.add(process)
            code = process.wait()
            with self._lock:
                self._running.discard(process)
                if self._is_stopped:
                    raise Stopped
            return code
        finally:
            self._free.put(environment)

    def stop(self) -> None:
        """Asks all to end, which save a checkpoint first; no other one is begun."""
        with self._lock:
            self._is_stopped = True
            for process in self._running:
                # Ctrl-C has reached it as well
                process.terminate()


def environments(jobs: int) -> list[dict[str, str]]:
    """What each of several runs at a time may use.

    Args:
        jobs: How many run at a time.

    Returns:
        Environment variables for each: an equal share of the GPUs that are visible, or one in turns
        where there are fewer than runs; without GPUs, an equal share of the cores as threads,
        unless OMP_NUM_THREADS says how many.
    """
    if jobs == 1:
        return [{}]
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        devices = [str(number) for number in range(torch.cuda.device_count())]
    else:
        devices = [each.strip() for each in given.split(",") if each.strip() not in ("", "-1")]
    if devices:
        share = max(1, len(devices) // jobs)
        places = [[(job * share + n) % len(devices) for n in range(share)] for job in range(jobs)]
        return [{"CUDA_VISIBLE_DEVICES": ",".join(devices[n] for n in own)} for own in places]
    if "OMP_NUM_THREADS" in os.environ:
        return [{} for _ in range(jobs)]
    # as many threads as cores in each of several processes: each waits for all others' threads
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    return [{"OMP_NUM_THREADS": str(threads)} for _ in range(jobs)]


def side_by_side(tasks: Iterable[Callable[[], None]], jobs: int, stop: Callable[[], None]) -> None:
    """Does tasks in their order, several at a time.

    Args:
        tasks: What is to be done.
        jobs: How many at a time.
        stop: Called where one of them, or a signal, ends all: has those at work end soon.
    """
    is_over = threading.Event()

    def unless_over(task: Callable[[], None]) -> None:
        if is_over.is_set():
            return
        try:
            task()
        except BaseException:
            # before the thread takes the next task
            is_over.set()
            raise

    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(unless_over, task) for task in tasks]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            is_over.set()
            stop()
            raise
