"""Runs of W&B that an error leaves open."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def failed_runs_ended() -> Iterator[None]:
    """Ends the W&B run that was opened within, as a failed one, where an error ends what is within.

    The next run of a sweep in this process would be logged into an open one. A run that was open
    before is left open: whoever opened it ends it.
    """
    before = _open_run()
    try:
        yield
    except BaseException:
        opened = _open_run()
        if opened is not None and opened is not before:
            opened.finish(exit_code=1)
        raise


def _open_run() -> Any:
    # who logs to W&B has imported it, and nobody else is to wait for that
    wandb = sys.modules.get("wandb")
    return None if wandb is None else wandb.run
