"""How far long work is: a bar on a terminal, a line now and then in a log."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

log = logging.getLogger(__name__)
Item = TypeVar("Item")
LINES = 10
"""Lines that a log gets, evenly spread over the items."""

Report = Callable[[str, int, int], None]
"""Takes the name of a stage, how much of it is done, and how much there is."""


@contextmanager
def progress_bars(console: Console | None = None) -> Iterator[Report]:
    """A bar for each stage; where the console is not a terminal, nothing is drawn.

    Args:
        console: Where to; standard error if None.

    Yields:
        Report: What to call when something is done.
    """
    console = console or Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                # what an earlier call has done says nothing about the speed of this one
                tasks[stage] = bars.add_task(stage, total=total, completed=done)
            bars.update(tasks[stage], completed=done)

        yield report


def with_progress(items: Iterable[Item], title: str, total: int, done: int) -> Iterator[Item]:
    """The same items, while a bar or the log shows how many there were.

    Args:
        items: Any.
        title: What they are.
        total: How many there are in all.
        done: How many of them an earlier call has done.

    Yields:
        Item: Each of them, unchanged.
    """
    if done:
        log.info("%s: %d of %d were done by an earlier call", title, done, total)
    console = Console()
    step = max(total // LINES, 1)
    with progress_bars(console) as report:
        report(title, done, total)
        for number, item in enumerate(items, start=done + 1):
            yield item
            report(title, number, total)
            if not console.is_terminal and (number % step == 0 or number == total):
                log.info("%s: %d of %d", title, number, total)
