"""The one place that says what ``sweep=bakeoff`` changes in the programs and their callbacks."""

from omegaconf import DictConfig

LOCK_FILE = "bakeoff.lock"
"""Marks the folder of a bake-off, the only one that a later call may continue in."""


def is_bakeoff(config: DictConfig) -> bool:
    """Whether ``sweep=bakeoff`` is chosen, whose file adds the node ``bakeoff``.

    train.py then holds a bake-off in place of a run, in one folder, and the tables of a sweep are
    those of the bake-off.
    """
    return "bakeoff" in config
