"""Texts that come with Python: its manual in English, and its source code. No download."""

import importlib
import logging
import os
import sysconfig
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from alm_lightning.corpus.bad_documents import BadDocuments
from alm_lightning.corpus.document import CorpusError, Document
from alm_lightning.corpus.sources.source import at_least_one, check_limit

log = logging.getLogger(__name__)

MANUAL_MODULE = "pydoc_data.topics"

# tests and packages are not the standard library; and with the manual in here, which is a source of
# its own, "other text" could hold the text trained on
SKIPPED_FOLDERS = frozenset(
    {"test", "tests", "idle_test", "site-packages", "dist-packages", "pydoc_data", "__pycache__"}
)


SHARED_AT_MOST = 0.05
"""Largest share of a topic's long paragraphs that longer topics may have as well."""

LONG_PARAGRAPH = 60
"""Least characters of a paragraph that is hardly the same in two places by chance."""


class PythonManual:
    """The topics of Python's ``help()``: the language reference in reStructuredText.

    Topics contain each other (``compound`` holds ``while``, ``try`` and others whole), which would
    put text that is trained on among what is held out. Of such topics only the longest is taken.
    """

    def documents(self, on_bad: BadDocuments | None = None) -> Iterator[Document]:
        """One document a topic, the longest first, named like ``pydoc_data.topics:assert``."""
        del on_bad  # no topic is bad
        try:
            topics = importlib.import_module(MANUAL_MODULE).topics
        except ImportError as error:
            raise CorpusError(
                f"This Python has no {MANUAL_MODULE}: some systems package it separately "
                "(Debian: libpython3-stdlib). Install it, or choose another corpus."
            ) from error
        named = (Document.of(text, f"{MANUAL_MODULE}:{topic}") for topic, text in topics.items())
        return at_least_one(_without_repetition(named), MANUAL_MODULE)


def _without_repetition(documents: Iterable[Document]) -> Iterator[Document]:
    """The documents that share at most a few paragraphs with longer ones."""
    seen: set[str] = set()
    for document in sorted(documents, key=lambda document: (-len(document.text), document.name)):
        # a topic inside another one is indented differently
        folded = (" ".join(paragraph.split()) for paragraph in document.text.split("\n\n"))
        long = {paragraph for paragraph in folded if len(paragraph) >= LONG_PARAGRAPH}
        if len(long & seen) <= SHARED_AT_MOST * len(long):
            seen |= long
            yield document


class PythonSource:
    """The modules of the standard library of the Python that runs this, without its tests.

    Args:
        max_documents: The most files to read, in the order of their paths; None for all.
    """

    def __init__(self, *, max_documents: int | None) -> None:
        check_limit(max_documents)
        self.max_documents = max_documents

    def documents(self, on_bad: BadDocuments | None = None) -> Iterator[Document]:
        """One document a file, in the order of the paths."""
        del on_bad  # files in other encodings are left out
        library = Path(sysconfig.get_path("stdlib"))
        readable = islice(_readable_modules(library), self.max_documents)
        return at_least_one(readable, str(library))


def _readable_modules(library: Path) -> Iterator[Document]:
    for folder, subfolders, files in os.walk(library):
        # in place: os.walk enters the folders of this list, in its order
        subfolders[:] = sorted(name for name in subfolders if name not in SKIPPED_FOLDERS)
        for file in sorted(name for name in files if name.endswith(".py")):
            path = Path(folder, file)
            name = path.relative_to(library).as_posix()
            try:
                # bytes, not text mode: line ends stay as they are
                yield Document(path.read_bytes().decode("utf-8"), name)
            except UnicodeDecodeError:
                log.debug("Skipped %s, which is not UTF-8", path)
