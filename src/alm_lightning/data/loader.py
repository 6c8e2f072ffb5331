"""A loader that knows how long it was waited for."""

import time
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader


class WaitedFor(DataLoader[Any]):
    """A `DataLoader` with the time that went by until its batches were there.

    Attributes:
        waited_seconds: In this process, over all batches so far.
    """

    waited_seconds = 0.0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """The batches."""
        batches = super().__iter__()
        while True:
            started = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            finally:
                self.waited_seconds += time.perf_counter() - started
            yield batch
