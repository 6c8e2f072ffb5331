"""Data sets of windows: documents tokenized twice, and cut to the length of a sequence."""

import logging
from collections.abc import Iterator, Sequence

from torch.utils.data import Dataset

from alm_lightning.alignment.text import ChunkSelection, align_text
from alm_lightning.corpus.document import Document
from alm_lightning.data.collator import NUM_EXTRA
from alm_lightning.data.windows import Window, windows
from alm_lightning.tokenization.view import TokenizerView

log = logging.getLogger(__name__)


class Pairing:
    """How a document becomes windows: tokenizers, chunk selection, lengths."""

    def __init__(
        self,
        *,
        student: TokenizerView,
        teacher: TokenizerView,
        alignment: ChunkSelection,
        student_length: int,
        teacher_length: int,
    ):
        """Sets up the pairing.

        Args:
            student: The student's tokenizer.
            teacher: The teacher's tokenizer.
            alignment: Which common boundaries bound chunks.
            student_length: The most tokens of a student sequence, BOS and EOS included.
            teacher_length: The same for the teacher.
        """
        self.student, self.teacher, self.alignment = student, teacher, alignment
        self.student_length = student_length - NUM_EXTRA
        self.teacher_length = teacher_length - NUM_EXTRA
        if min(self.student_length, self.teacher_length) < 1:
            raise ValueError(
                f"sequences of {student_length} student and {teacher_length} teacher tokens leave "
                "no room for text beside BOS and EOS. Raise budget.student_length and "
                "budget.teacher_length."
            )

    def first_window(self, document: Document) -> Window:
        """The first window of a document, whatever comes after it.

        Args:
            document: The document, not empty.

        Returns:
            Its start.
        """
        return next(self._windows(document))

    def windows(self, document: Document) -> list[Window]:
        """All windows of a document.

        Args:
            document: The document.

        Returns:
            Its windows, in order.
        """
        return list(self._windows(document))

    def _windows(self, document: Document) -> Iterator[Window]:
        aligned = align_text(
            document.text,
            student=self.student,
            teacher=self.teacher,
            alignment=self.alignment,
            name=document.name,
        )
        return windows(
            aligned,
            student_length=self.student_length,
            teacher_length=self.teacher_length,
            name=document.name,
        )


class AllWindows(Dataset[Window]):
    """Every window of every document, paired beforehand: for a corpus that fits into memory."""

    def __init__(self, documents: Sequence[Document], *, pairing: Pairing):
        """Pairs the documents.

        Args:
            documents: The documents.
            pairing: How a document becomes windows.
        """
        self.items = [window for document in documents for window in pairing.windows(document)]
        num_bytes = sum(len(document.text.encode("utf-8")) for document in documents)
        self.coverage = sum(window.num_bytes for window in self.items) / max(num_bytes, 1)
        """Bytes in chunks, as a share of the documents' bytes."""
        if not self.items:
            raise ValueError(
                f"{len(documents)} documents gave no window: they hold no text. Check corpus.train."
            )

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.items)

    def __getitem__(self, index: int) -> Window:
        """One window, by its place in the corpus."""
        return self.items[index]


class FirstWindow(Dataset[Window]):
    """The first window of each document, paired when it is asked for, in the loader's workers.

    This is the truncation of the published recipes, and starts at once on a corpus of any size.
    """

    def __init__(self, documents: Sequence[Document], *, pairing: Pairing):
        """Keeps the documents.

        Args:
            documents: The documents, none empty.
            pairing: How a document becomes windows.
        """
        self.documents, self.pairing = documents, pairing
        # a length that no chunk fits is told now, not by a worker in the middle of a run
        pairing.first_window(documents[0])

    def __len__(self) -> int:
        """Number of documents."""
        return len(self.documents)

    def __getitem__(self, index: int) -> Window:
        """The start of one document."""
        return self.pairing.first_window(self.documents[index])
