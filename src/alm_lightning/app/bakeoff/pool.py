"""Processes of a bake-off: several at a time, each with its share of the devices.

Threads of `concurrent.futures` start the processes. A launcher of Hydra's would not do: `launch`
returns when its last run has ended, so no table could be written after each run; and the workers of
joblib are killed at a signal, before the runs in them have saved a checkpoint.
"""

import os
import queue
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import IO

import torch


class Stopped(Exception):
    """A process was terminated, or not started, because the pool was stopped."""


class ProcessPool:
    """Runs tasks in threads; each task may start processes, one after another.

    Args:
        environments: Environment variables for the processes of a task, beside those of this
            process: one mapping for each task that may run at a time.
    """

    def __init__(self, environments: Sequence[Mapping[str, str]] = ({},)):
        self._num_threads = len(environments)
        self._free: queue.SimpleQueue[Mapping[str, str]] = queue.SimpleQueue()
        for environment in environments:
            self._free.put(environment)
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen] = set()
        self._is_stopped = False

    def run_tasks(self, tasks: Iterable[Callable[[], None]]) -> None:
        """Runs tasks in their order. An error in one of them, or a signal, stops the pool."""
        with ThreadPoolExecutor(self._num_threads) as executor:
            futures = [executor.submit(self._run_task, task) for task in tasks]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                self.stop()
                raise

    def run_process(self, command: Sequence[str], output: IO[bytes], kept_open: int) -> int:
        """Runs a process to its end.

        Args:
            command: The program and its arguments.
            output: Receives stdout and stderr.
            kept_open: A file descriptor that the process inherits.

        Returns:
            Its exit code.

        Raises:
            Stopped: The pool was stopped.
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
                self._processes.add(process)
            code = process.wait()
            with self._lock:
                self._processes.discard(process)
                if self._is_stopped:
                    raise Stopped
            return code
        finally:
            self._free.put(environment)

    def stop(self) -> None:
        """Sends SIGTERM to all processes (a run saves a checkpoint first), and starts no more."""
        with self._lock:
            self._is_stopped = True
            for process in self._processes:
                process.terminate()

    def _run_task(self, task: Callable[[], None]) -> None:
        if self._is_stopped:
            return
        try:
            task()
        except Stopped:
            # whatever stopped the pool is raised where it happened
            return
        except BaseException:
            # here, before this thread takes the next task
            self.stop()
            raise


def environments(jobs: int) -> list[dict[str, str]]:
    """The devices of each of `jobs` runs at a time, as environment variables.

    Each gets an equal share of the visible GPUs, or one GPU in turns where there are fewer GPUs
    than runs; without GPUs an equal share of the cores, unless OMP_NUM_THREADS is set.
    """
    if jobs == 1:
        return [{}]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        devices = [str(number) for number in range(torch.cuda.device_count())]
    else:
        devices = [each.strip() for each in visible.split(",") if each.strip() not in ("", "-1")]
    if devices:
        share = max(1, len(devices) // jobs)
        shares = [[(job * share + n) % len(devices) for n in range(share)] for job in range(jobs)]
        return [{"CUDA_VISIBLE_DEVICES": ",".join(devices[n] for n in own)} for own in shares]
    if "OMP_NUM_THREADS" in os.environ:
        return [{} for _ in range(jobs)]
    # with more threads than cores, each waits for those of the other processes
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    return [{"OMP_NUM_THREADS": str(threads)} for _ in range(jobs)]
