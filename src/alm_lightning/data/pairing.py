"""How a document becomes windows: both tokenizers, chunks, lengths, and templates for chats."""

from collections.abc import Sequence
from itertools import islice

from alm_lightning.alignment.aligned import AlignedText
from alm_lightning.alignment.boundaries import ChunkBounds, ChunkSelection
from alm_lightning.alignment.chat.messages import TRAINED, align_messages
from alm_lightning.alignment.text import align_text
from alm_lightning.corpus.bad_documents import BadDocuments, Refuse, attempt
from alm_lightning.corpus.chat import SYSTEM_POLICIES
from alm_lightning.corpus.document import Document
from alm_lightning.corpus.document_store import document_hash
from alm_lightning.corpus.pieces import LEAST_BYTES, pieces
from alm_lightning.corpus.sources.source import AnyDocument
from alm_lightning.data.scores import WindowScores
from alm_lightning.data.windows import NUM_EXTRA, Window, windows
from alm_lightning.tokenization.view import TokenizerView


class ChatSettings:
    """How chats are paired: what is trained on, and each side's template.

    Args:
        trained: ``all`` messages, or the ``assistant``'s alone, with the ends of their turns.
        system: What becomes of a system message: ``own``, ``merge``, ``drop`` or ``error``.
        student_template: The student's template: a name, or Jinja; None for the tokenizer's.
        teacher_template: The same for the teacher.
    """

    def __init__(
        self,
        *,
        trained: str,
        system: str,
        student_template: str | None,
        teacher_template: str | None,
    ):
        for name, value, known in (
            ("chat.trained", trained, TRAINED),
            ("chat.system", system, SYSTEM_POLICIES),
        ):
            if value not in known:
                raise ValueError(f"{name} is {value!r}; expected one of {', '.join(known)}.")
        self.trained, self.system = trained, system
        self.student_template, self.teacher_template = student_template, teacher_template


ALL_TRAINED = ChatSettings(
    trained="all", system="own", student_template=None, teacher_template=None
)
"""The published recipe: every message is trained on, each side in its tokenizer's template."""


class Pairing:
    """How a document becomes windows: tokenizers, chunk selection, lengths.

    Args:
        student: The student's tokenizer.
        teacher: The teacher's tokenizer.
        alignment: Which common boundaries bound chunks.
        student_length: The most tokens of a student sequence, BOS and EOS included.
        teacher_length: The same for the teacher.
        chat: How chats are paired.
        on_bad: What becomes of a document that can't be paired; None raises.
        cut_bytes: Texts are cut into pieces of at most so many bytes, whatever the tokenizers, and
            each piece, or chat, gives its first window; None cuts where both lengths allow.
        scores: What the teacher has said of each window, where it is read from a store; a document
            that it lacks is bad. Without `cut_bytes` it has starts, and a document gives its first
            window alone.
    """

    def __init__(
        self,
        *,
        student: TokenizerView,
        teacher: TokenizerView,
        alignment: ChunkSelection,
        student_length: int,
        teacher_length: int,
        chat: ChatSettings = ALL_TRAINED,
        on_bad: BadDocuments | None = None,
        cut_bytes: int | None = None,
        scores: WindowScores | None = None,
    ):
        if cut_bytes is not None and cut_bytes < LEAST_BYTES:
            raise ValueError(
                f"windows.cut_bytes is {cut_bytes}: expected at least {LEAST_BYTES} bytes, which "
                "one character may have, or null, which cuts nothing."
            )
        self.cut_bytes, self.scores = cut_bytes, scores
        self.student, self.teacher, self.alignment = student, teacher, alignment
        self.chat, self.on_bad = chat, on_bad or Refuse()
        self.student_length = student_length - NUM_EXTRA
        self.teacher_length = teacher_length - NUM_EXTRA
        if min(self.student_length, self.teacher_length) < 1:
            raise ValueError(
                f"sequences of {student_length} student and {teacher_length} teacher tokens leave "
                "no room for text beside BOS and EOS. Raise student_length and teacher_length."
            )

    def first_window(self, document: AnyDocument) -> Window | None:
        """The first window of a document, whatever comes after it.

        Its start; None if it is bad and left out, or nothing in it can be trained on.
        """
        return next(iter(self.windows(document, at_most=1)), None)

    def windows(self, document: AnyDocument, at_most: int | None = None) -> list[Window]:
        """The windows of a document.

        Args:
            document: The document.
            at_most: How many, from the front; None for all.

        Returns:
            Its windows, in order; none of a bad document that is left out.
        """
        return attempt(self.on_bad, self.pair, document, at_most) or []

    def pair(self, document: AnyDocument, at_most: int | None) -> list[Window]:
        """The windows of a document, which must not be bad.

        Args:
            document: The document.
            at_most: How many, from the front; None for all.

        Returns:
            Its windows, in order; the first one alone where a store has the starts of documents.
        """
        if self.cut_bytes is None:
            # a store of texts that are not cut has the start of each, and no later window
            return self._pair(document, at_most if self.scores is None else 1)
        parts: Sequence[AnyDocument] = [document]
        if isinstance(document, Document):
            parts = pieces(document, self.cut_bytes)
        found = (
            window
            for number, part in enumerate(parts, start=1)
            for window in self._pair(part, 1, continues=number < len(parts))
        )
        return list(islice(found, at_most))

    def _pair(
        self, document: AnyDocument, at_most: int | None, *, continues: bool = False
    ) -> list[Window]:
        """The first windows of a document or of a piece, which another one follows or not."""
        return self.cut(self.aligned(document), document, at_most, continues=continues)

    def aligned(self, document: AnyDocument, alignment: ChunkBounds | None = None) -> AlignedText:
        """A document under both tokenizers.

        Args:
            document: The document, or a piece of it.
            alignment: What bounds its chunks; None for what does so in all documents.

        Returns:
            Its tokens and chunks.
        """
        alignment = self.alignment if alignment is None else alignment
        student, teacher, name = self.student, self.teacher, document.name
        if isinstance(document, Document):
            return align_text(
                document.text, student=student, teacher=teacher, alignment=alignment, name=name
            )
        return align_messages(
            document,
            student=student,
            teacher=teacher,
            alignment=alignment,
            name=name,
            **vars(self.chat),
        )

    def cut(
        self,
        aligned: AlignedText,
        document: AnyDocument,
        at_most: int | None,
        *,
        continues: bool,
        student_length: int | None = None,
    ) -> list[Window]:
        """The first windows of a document that is aligned.

        Args:
            aligned: From `aligned`.
            document: The document, or a piece of it.
            at_most: How many windows; None for all.
            continues: Whether more of the same document follows.
            student_length: The most student tokens of a window, special tokens not counted; None
                for what sequences have room for.

        Returns:
            The windows, in order, of which a store has the scores, if there is one.
        """
        found = windows(
            aligned,
            student_length=self.student_length if student_length is None else student_length,
            teacher_length=self.teacher_length,
            name=document.name,
            continues=continues,
            document=document_hash(document, continues=continues),
        )
        chosen = list(islice(found, at_most))
        if self.scores is not None:
            for window in chosen:
                self.scores.check(window, document.name)
        return chosen
