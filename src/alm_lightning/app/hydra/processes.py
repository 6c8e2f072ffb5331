"""Processes of a run on several devices: which one this is, and how the others are started."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from omegaconf import DictConfig, read_write

from alm_lightning.app.hydra.overrides import as_typed

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
"""Environment variables in which launchers number the processes of a run."""
SET_BY_LIGHTNING = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")
"""Environment variables by which the processes of a run find each other."""
OF_THE_MULTIRUN = ("hydra.mode", "hydra.run.dir")
"""Settings of Hydra's that its other processes get anew."""


@contextmanager
def started_as_one_run() -> Iterator[None]:
    """Has Lightning start the other processes of a run with the settings of this run alone.

    It starts them with the command line of this process. That of a multirun would have each of them
    make all runs, one after another, or draw settings of its own in a search. Afterwards this
    process is free of them, for the next run. Where it makes a single run, nothing changes.

    Yields:
        Nothing; afterwards command line and environment are as they were.
    """
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        yield
        return
    own = HydraConfig.get()
    arguments, folder = sys.argv, own.run.dir
    environment = {name: os.environ.get(name) for name in SET_BY_LIGHTNING}
    # a group of processes that torchrun or SLURM has started serves all runs
    makes_group = not is_started_from_outside() and not _has_group()
    kept = [
        each
        for each in as_typed(own.overrides.hydra)
        if each.lstrip("+").partition("=")[0] not in OF_THE_MULTIRUN
    ]
    overrides = [*kept, *as_typed(own.overrides.task), "hydra.mode=RUN"]
    program = [arguments[0], *config_flags(own), "--config-name", own.job.config_name]
    sys.argv = [*program, *overrides]
    # Lightning adds this folder to the command line
    with read_write(own):
        own.run.dir = own.runtime.output_dir
    try:
        yield
    except BaseException:
        _end_other_processes()
        raise
    finally:
        if makes_group and _has_group():
            dist.destroy_process_group()
        for name, value in environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        sys.argv = arguments
        with read_write(own):
            own.run.dir = folder


def _has_group() -> bool:
    return dist.is_available() and dist.is_initialized()


def _end_other_processes() -> None:
    """Ends the processes that Lightning has started for a run that failed.

    A thread of Lightning's watches them, and kills this process where one of them fails: the other
    runs of the sweep would be lost.
    """
    for thread in threading.enumerate():
        if isinstance(thread, _ChildProcessObserver):
            children, thread._child_processes = thread._child_processes, []
            for child in children:
                child.kill()
                child.wait()


def config_flags(own: DictConfig) -> list[str]:
    """Flags of the command line that another process of the same program needs as well.

    Args:
        own: Hydra's node of the configuration.

    Returns:
        Each flag, followed by its value.
    """
    paths = [s.path for s in own.runtime.config_sources if s.provider == "command-line"]
    return [flag for path in paths for flag in ("--config-dir", path)]


def is_first_process() -> bool:
    """Whether no other process of the same run on several devices made its folder before."""
    return rank() == "0"


def is_started_from_outside() -> bool:
    """Whether processes start at the same time; those of Lightning do when the first has begun."""
    return any(name in os.environ for name in ("RANK", "SLURM_PROCID"))


def rank() -> str:
    """Which process of its run this is, by what its launcher says; ``0`` for the only one."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # torchrun numbers processes by itself: the first may be on a node, or have been started by
        # a task of SLURM, of another number
        return os.environ["RANK"]
    # a RANK of 0 may be that of a container, in which Lightning starts processes of its own
    given = (os.environ.get(name) for name in RANKS)
    return next((number for number in given if number and number != "0"), "0")
