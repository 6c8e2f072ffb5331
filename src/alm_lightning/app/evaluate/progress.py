"""How far an evaluation is: a bar on a terminal, a line now and then in a log."""

import logging
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)
Item = TypeVar("Item")
LINES = 10
"""Lines that a log gets, evenly spread over the items."""


def told_progress(items: Iterable[Item], title: str, total: int, done: int) -> Iterator[Item]:
    """The same items, with word of how many there were.

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
    if not Console().is_terminal:
        step = max(total // LINES, 1)
        for number, item in enumerate(items, start=done + 1):
            yield item
            if number % step == 0 or number == total:
                log.info("%s: %d of %d", title, number, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn()) as progress:
        task = progress.add_task(title, total=total, completed=done)
        for item in items:
            yield item
            progress.advance(task)
