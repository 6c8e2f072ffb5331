"""A progress bar for bias statistics."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from alm_lightning.alignment.bias import statistics as bias_statistics


@contextmanager
def progress_bar() -> Iterator[bias_statistics.Progress]:
    """A bar a stage on standard error; where that is no terminal, nothing is drawn.

    Yields:
        Progress: What `bias_statistics` tells its progress to.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done)

        yield show
