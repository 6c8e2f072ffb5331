"""The data of an evaluation: documents with keys that are the same next time, and JSON lines."""

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path

from alm_lightning.corpus.document import CorpusError, decode, shortened
from alm_lightning.corpus.sources.compression import opened
from alm_lightning.corpus.sources.source import AnyDocument, Source


def keyed_documents(
    source: Source, *, leave_out: float = 0.0, max_documents: int | None = None
) -> dict[str, AnyDocument]:
    """The documents of a corpus, by keys that hold their place and a hash of their text.

    Args:
        source: Where they come from.
        leave_out: Share of the documents, from the front, that is left out: 0.9 takes the last
            tenth.
        max_documents: How many to take at most after those; None for all.

    Returns:
        Documents by key, in their order; blank ones are left out.

    Raises:
        CorpusError: Nothing is left to evaluate on.
        ValueError: A setting makes no sense.
    """
    if not 0.0 <= leave_out < 1.0:
        raise ValueError(
            f"leave_out is {leave_out}: expected a share of the documents, from 0 to below 1."
        )
    if max_documents is not None and max_documents < 1:
        raise ValueError(
            f"max_documents is {max_documents}: expected at least 1, or None (null) for all."
        )
    documents = list(source.documents())
    # rounded, since 0.9 * 10 must not be 9.000000001 documents
    first = math.ceil(round(leave_out * len(documents), 6))
    last = None if max_documents is None else first + max_documents
    by_key = {
        f"{place}:{digest(document.text)}": document
        for place, document in enumerate(documents[first:last], start=first)
        if not document.is_blank
    }
    if not by_key:
        raise CorpusError(
            f"the corpus has {len(documents)} documents, and none with text is left to evaluate on "
            f"(leave_out={leave_out}, max_documents={max_documents}). Choose another corpus, or "
            "take more of it."
        )
    return by_key


def json_lines(path: Path, expected: str) -> Iterator[tuple[str, dict[str, object]]]:
    """The objects of a file, plain or compressed, each with its place: ``problems.jsonl:12``.

    Blank lines are skipped. `expected` says in errors what a line should hold.
    """
    if not path.is_file():
        raise CorpusError(
            f"There is no file at '{path}'. Expected one JSON object a line: {expected}."
        )
    # lines of bytes end at a line feed alone: text would be cut at U+2028, too
    with opened(path) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            name = f"{path}:{number}"
            try:
                row = json.loads(decode(line, name))
            except json.JSONDecodeError as error:
                raise CorpusError(f"{name}: not JSON ({error}); expected {expected}.") from error
            if not isinstance(row, dict):
                raise CorpusError(f"{name}: found {shortened(row)}; expected {expected}.")
            yield name, row


def digest(text: str) -> str:
    """A short hash of a text (12 hexadecimal digits), by which a key tells it from another."""
    return hashlib.blake2b(text.encode("utf-8"), digest_size=6).hexdigest()
