"""What becomes of a document that cannot be used: the run ends, or it is left out and counted."""

import logging
import multiprocessing
from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

from alm_lightning.corpus.document import BadDocument

log = logging.getLogger(__name__)
Made = TypeVar("Made")

KINDS = ("not text", "not UTF-8", "lone surrogate", "not JSON", "no column", "bad chat", "other")
"""What can be wrong with a document."""

SHOWN = 5
"""So many are told with their message; a broken file may hold millions."""


@runtime_checkable
class BadDocuments(Protocol):
    """The setting `on_bad_document`: `Refuse`, `Skip`. Sources and pairing share one."""

    def __call__(self, error: BadDocument) -> None:
        """Raises the error, or counts it."""
        ...

    def counts(self) -> dict[str, int]:
        """How many were left out so far, in all processes, by kind; kinds without any are not."""
        ...

    def uncounted(self) -> "BadDocuments":
        """The same for a process that reads what another one counts."""
        ...


class Refuse:
    """`on_bad_document: error`: the first bad document ends the run."""

    def __call__(self, error: BadDocument) -> None:
        """Raises the error.

        Args:
            error: What is wrong, with the document's name.

        Raises:
            BadDocument: Always.
        """
        raise error

    def counts(self) -> dict[str, int]:
        """None is ever left out."""
        return {}

    def uncounted(self) -> "Refuse":
        """The same: it counts nothing."""
        return self


class Skip:
    """`on_bad_document: skip`: bad documents are left out, counted by kind, the first few told.

    The counts lie in memory that a loader's workers share, so what they leave out is in them too. A
    document counts once in a process; one that is paired anew in a later pass may be met by another
    worker, and then counts there as well.

    Example:
        >>> skip = Skip()
        >>> skip(BadDocument("a.jsonl:3: not JSON", kind="not JSON"))
        >>> skip(BadDocument("a.jsonl:3: not JSON", kind="not JSON"))
        >>> skip.counts()
        {'not JSON': 1}
    """

    def __init__(self):
        """Starts with nothing left out."""
        self._counts = multiprocessing.Array("q", len(KINDS))
        self._met: set[int] = set()

    def __call__(self, error: BadDocument) -> None:
        """Counts the document, and tells of it if it is among the first.

        Args:
            error: What is wrong, with the document's name.
        """
        met = hash(str(error))
        if met in self._met:
            return
        self._met.add(met)
        with self._counts.get_lock():
            before = sum(self._counts)
            self._counts[KINDS.index(error.kind)] += 1
        if before < SHOWN:
            log.warning("left out (on_bad_document: skip): %s", error)
        if before + 1 == SHOWN:
            log.warning("further documents are left out without a word, and counted.")

    def counts(self) -> dict[str, int]:
        """How many were left out so far, in all processes, by kind.

        Returns:
            Kinds that were met, with their numbers.
        """
        return {kind: count for kind, count in zip(KINDS, self._counts, strict=True) if count}

    def uncounted(self) -> "SkipUncounted":
        """Leaves out without a word: another process tells and counts."""
        return SkipUncounted()


class SkipUncounted:
    """Leaves documents out where another process, which reads the same, tells and counts."""

    def __call__(self, error: BadDocument) -> None:
        """Leaves the document out.

        Args:
            error: What another process tells.
        """

    def counts(self) -> dict[str, int]:
        """None: they are counted elsewhere."""
        return {}

    def uncounted(self) -> "SkipUncounted":
        """The same."""
        return self


def attempt(
    on_bad: BadDocuments, make: Callable[..., Made], *arguments: object, **keywords: object
) -> Made | None:
    """What a function makes of one document, or None if that one is bad and left out.

    A function and not a `try` around a loop: a generator that has raised is over, and its source
    with it.

    Args:
        on_bad: What becomes of a bad document.
        make: Makes something of one document.
        *arguments: For `make`.
        **keywords: For `make`.

    Returns:
        What was made, or None.
    """
    try:
        return make(*arguments, **keywords)
    except BadDocument as error:
        on_bad(error)
        return None


def told(counts: dict[str, int]) -> str:
    """Counts in words, as a line for the log.

    Args:
        counts: From `BadDocuments.counts`.

    Returns:
        The words.

    Example:
        >>> told({"not JSON": 2, "not UTF-8": 1})
        '3 (not JSON 2, not UTF-8 1)'
    """
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in counts.items())
    return f"{sum(counts.values()):,} ({kinds})"
