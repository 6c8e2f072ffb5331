"""What happens to a document that cannot be used: the run ends, or it is skipped and counted."""

import logging
import multiprocessing
from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

from alm_lightning.corpus.document import BadDocument

log = logging.getLogger(__name__)
Made = TypeVar("Made")

KINDS = (
    *("not text", "not UTF-8", "lone surrogate", "not JSON", "no column", "bad chat"),
    *("not scored", "teachers apart", "other"),
)
"""What can be wrong with a document."""

SHOWN = 5
"""Number of bad documents whose message is logged; a broken file may hold millions."""


@runtime_checkable
class BadDocuments(Protocol):
    """The setting `on_bad_document`: `Refuse`, `Skip`. Sources and pairing share one."""

    def __call__(self, error: BadDocument) -> None:
        """Raises the error, or counts it."""
        ...

    def counts(self) -> dict[str, int]:
        """Documents skipped so far, in all processes, by kind; kinds without any are left out."""
        return {}

    def uncounted(self) -> "BadDocuments":
        """The same policy for a process that reads what another one counts."""
        return self


class Refuse(BadDocuments):
    """`on_bad_document: error`: the first bad document ends the run."""

    def __call__(self, error: BadDocument) -> None:
        """Raises the error."""
        raise error


class Skip(BadDocuments):
    """`on_bad_document: skip`: bad documents are skipped and counted, the first few are logged.

    The counts are in memory that a loader's workers share, so they include what workers skip. A
    document counts once in each process: one that is paired again in a later pass by another worker
    counts again.

    Example:
        >>> skip = Skip()
        >>> skip(BadDocument("a.jsonl:3: not JSON", kind="not JSON"))
        >>> skip(BadDocument("a.jsonl:3: not JSON", kind="not JSON"))
        >>> skip.counts()
        {'not JSON': 1}
    """

    def __init__(self) -> None:
        self._counts = multiprocessing.Array("q", len(KINDS))
        self._met: set[int] = set()

    def __call__(self, error: BadDocument) -> None:
        """Counts the document, and logs the error if it is among the first `SHOWN`."""
        met = hash(str(error))
        if met in self._met:
            return
        self._met.add(met)
        with self._counts.get_lock():
            before = sum(self._counts[:])
            self._counts[KINDS.index(error.kind)] += 1
        if before < SHOWN:
            log.warning("left out (on_bad_document: skip): %s", error)
        if before + 1 == SHOWN:
            log.warning("further documents that are left out are counted, but not shown.")

    def counts(self) -> dict[str, int]:
        """Documents skipped so far, in all processes, by kind; kinds without any are left out."""
        return {kind: count for kind, count in zip(KINDS, self._counts[:], strict=True) if count}

    def uncounted(self) -> "SkipUncounted":
        """Skips without log and count: another process does both."""
        return SkipUncounted()


class SkipUncounted(BadDocuments):
    """Skips documents where another process, which reads the same ones, logs and counts them."""

    def __call__(self, error: BadDocument) -> None:
        """Does nothing."""


def attempt(
    on_bad: BadDocuments, make: Callable[..., Made], *arguments: object, **keywords: object
) -> Made | None:
    """What a function makes of one document, or None if the document is bad and skipped.

    A function and not a `try` around a loop: a generator cannot continue after it has raised.
    """
    try:
        return make(*arguments, **keywords)
    except BadDocument as error:
        on_bad(error)
        return None


def format_counts(counts: dict[str, int]) -> str:
    """Counts by kind, as text: ``3 (not JSON 2, not UTF-8 1)``."""
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in counts.items())
    return f"{sum(counts.values()):,} ({kinds})"
