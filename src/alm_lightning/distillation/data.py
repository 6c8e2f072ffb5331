"""The text of a run: read, split, and paired."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from alm_lightning.alignment.boundaries import ChunkSelection
from alm_lightning.corpus.bad_documents import BadDocuments, Refuse, Skip
from alm_lightning.corpus.document import CorpusError
from alm_lightning.corpus.heldout import Split
from alm_lightning.corpus.reading import Stored, Streamed
from alm_lightning.corpus.sources.source import AnyDocument, Source
from alm_lightning.data.collator import Collator
from alm_lightning.data.datamodule import DatasetFactory, DistillDataModule
from alm_lightning.data.examples import AllWindows
from alm_lightning.data.joint import JointPairing
from alm_lightning.data.packing import Packing
from alm_lightning.data.pairing import ChatSettings, Pairing
from alm_lightning.data.store import CachedWindows
from alm_lightning.models.pair import Scorer, Teacher
from alm_lightning.scores.ensemble import LOSSES, StoredTeachers, Teaching
from alm_lightning.scores.reader import StoreReader, check_cut
from alm_lightning.scores.teacher import StoredTeacher
from alm_lightning.tokenization.chat.choice import template_of
from alm_lightning.tokenization.chat.formats import FORMATS
from alm_lightning.tokenization.view import TokenizerView
from alm_lightning.training.micro_batch import AUTO, EVALUATED_ROWS

log = logging.getLogger(__name__)
ON_BAD_DOCUMENT: Mapping[str, Callable[[], BadDocuments]] = {"error": Refuse, "skip": Skip}
"""What becomes of documents that can't be used, by name."""
TRAINED, OTHER = "heldout", "other"
"""Names of the evaluation sets: held-out text of the training domain, and text of another one."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Text of one domain.

    Attributes:
        name: What errors and logs call it.
        source: Where its documents come from.
        heldout_share: Share of the documents that are not trained on, in (0, 1).
        split_seed: Seed of the split.
        split_by: What decides on which side a document lies: ``document``, its whole text; or
            ``question``, of a chat the user's first message.
    """

    name: str
    source: Source
    heldout_share: float = 0.1
    split_seed: int = 0
    split_by: str = "document"


@dataclass(frozen=True, kw_only=True)
class Documents:
    """Documents by use.

    Attributes:
        train: To train on: a sequence, or a stream.
        evaluation: To evaluate on, by the name of the evaluation set; never trained on.
    """

    train: Iterable[AnyDocument]
    evaluation: Mapping[str, Sequence[AnyDocument]]


@dataclass(frozen=True, kw_only=True)
class DataPlan:
    """How text becomes the batches of a run.

    Attributes:
        corpus: Text to train on.
        other: Text of another domain, to evaluate on; None for none.
        reading: How the documents are read and kept.
        dataset: Makes the windows that are trained on.
        on_bad: What becomes of a bad document, in reading and in pairing.
        alignment: Which common boundaries bound chunks.
        chat: How chats are paired.
        has_own_specials: Whether the student has its new tokenizer's own special tokens, in place
            of those of its old one.
        packing: Which windows share a row.
        student_length: The most tokens of a student's sequence, BOS and EOS included.
        teacher_length: The same for the teacher.
        batch_size: Sequences of an optimizer step, over all ranks.
        micro_batch_size: Sequences of a forward pass; ``auto`` for as many as fit.
        steps: Optimizer steps.
        evaluation_windows: The most windows of each evaluation set.
        seed: Seed of the order.
        validate_during_fit: Whether there are evaluations between steps as well.
        num_workers: Processes that pair and collate; 0 for this one.
        pins_memory: Whether batches lie in memory from which a GPU copies while it computes.
        cut_bytes: Texts are cut into pieces of at most so many bytes, whatever the tokenizers; None
            cuts where both lengths allow.
    """

    corpus: Corpus
    other: Corpus | None
    reading: Stored | Streamed
    dataset: DatasetFactory
    on_bad: BadDocuments
    alignment: ChunkSelection
    chat: ChatSettings
    has_own_specials: bool
    packing: Packing
    student_length: int
    teacher_length: int
    batch_size: int
    micro_batch_size: int | str
    steps: int
    evaluation_windows: int
    seed: int
    validate_during_fit: bool
    num_workers: int
    pins_memory: bool = False
    cut_bytes: int | None = None

    def check_stores(self, stores: Sequence[StoreReader]) -> None:
        """Refuses stores of texts that are cut otherwise, which needs no model.

        Args:
            stores: Of each teacher that was scored.
        """
        for store in stores:
            check_cut(store, cut_bytes=self.cut_bytes, length=self.teacher_length)
        self.check_first_windows()

    def check_first_windows(self) -> None:
        """Refuses a run that would train on more than the start of each text.

        Raises:
            ValueError: Texts are not cut, and all windows of each are asked for.
        """
        if self.cut_bytes is not None:
            return
        given = self.dataset if isinstance(self.dataset, partial) else partial(self.dataset)
        is_all = given.func is AllWindows or (
            given.func is CachedWindows and given.keywords.get("windows_per_document") != 1
        )
        if is_all:
            raise ValueError(
                "windows.cut_bytes is null, and all windows of each text are trained on: where "
                "they begin depends on the student, and a store of scores has starts alone. Give "
                "windows.cut_bytes, 250 for sequences of 256 bytes, say, to alm-score and to "
                "every run; or take windows=first."
            )

    def read(self) -> Documents:
        """Reads the text, and splits held-out documents off before anything else sees them.

        Returns:
            The documents.

        Raises:
            CorpusError: The other domain holds text that is trained on.
        """
        split = self._split(self.corpus)
        log.info("corpus %s: %s", self.corpus.name, split.summary())
        evaluation = {TRAINED: split.heldout}
        if self.other is not None:
            other = self._split(self.other).heldout
            if any(split.trains_on(document) for document in other):
                raise CorpusError(
                    f"corpus_other ({self.other.name}) holds documents that are trained on, so it "
                    "can't tell how the student does elsewhere. Choose another corpus_other."
                )
            log.info(
                "other domain %s: %d documents, only evaluated on", self.other.name, len(other)
            )
            evaluation[OTHER] = other
        return Documents(train=split.train, evaluation=evaluation)

    def _split(self, corpus: Corpus) -> Split:
        return self.reading.split(
            corpus.source,
            on_bad=self.on_bad,
            heldout_share=corpus.heldout_share,
            split_by=corpus.split_by,
            seed=corpus.split_seed,
        )

    def pair(self, documents: Documents, student: Scorer, teacher: Teaching) -> DistillDataModule:
        """Pairs the documents.

        Args:
            documents: From `read`.
            student: The student, for its tokenizer.
            teacher: The teacher, for its tokenizer; or a store of what it said, or several.

        Returns:
            The data module.

        Raises:
            ValueError: The store's texts are cut otherwise, or shorter; or weights of teachers are
                for other documents.
        """
        several = teacher if isinstance(teacher, StoredTeachers) else None
        # not `teachers_of`: several that teach as one have a window each
        each = teacher.each if isinstance(teacher, StoredTeachers) else (teacher,)
        pairings = [self._pairing(documents, student, one) for one in each]
        pairing = pairings[0]
        if several is not None:
            several.weights.check(documents.train)
            pairing = JointPairing(
                pairings, several.weights, shares_chunks=several.combine != LOSSES
            )
        rows = self.micro_batch_size
        return DistillDataModule(
            train=documents.train,
            evaluation=documents.evaluation,
            pairing=pairing,
            dataset=self.dataset,
            collator=Collator(
                student=student.view,
                teacher=pairing.teacher,
                micro_batch_size=EVALUATED_ROWS if isinstance(rows, str) else rows,
                packing=self.packing,
                scores=pairing.scores,
                others=[] if several is None else [(o.view, o.store) for o in several.each[1:]],
            ),
            finds_micro_batch=rows == AUTO,
            batch_size=self.batch_size,
            num_steps=self.steps,
            evaluation_windows=self.evaluation_windows,
            seed=self.seed,
            validate_during_fit=self.validate_during_fit,
            num_workers=self.num_workers,
            pins_memory=self.pins_memory,
        )

    def _pairing(self, documents: Documents, student: Scorer, teacher: Teacher) -> Pairing:
        """How a document becomes windows with one teacher."""
        views = {"student": student.view, "teacher": teacher.view}
        scores = teacher.store if isinstance(teacher, StoredTeacher) else None
        if scores is not None:
            self.check_stores([scores])
            if self.cut_bytes is None:
                log.info(
                    "evaluation: of each held-out document the first window alone, since the texts "
                    "of the store %s were not cut, and it has nothing else of them",
                    scores.folder,
                )
        return Pairing(
            **views,
            # fitted once, before anything is paired, on what is trained on alone
            alignment=self.alignment.fitted(**views, documents=documents.train),
            student_length=self.student_length,
            teacher_length=self.teacher_length,
            chat=self.chat_of(student.view),
            on_bad=self.on_bad,
            cut_bytes=self.cut_bytes,
            scores=scores,
        )

    def chat_of(self, student: TokenizerView) -> ChatSettings:
        """How chats are paired with a student's tokenizer.

        `chat` may name the format of a model's chats, for both sides. A student that has its new
        tokenizer's own special tokens, and not those of this format, writes chats as that
        tokenizer does.

        Args:
            student: The student's tokenizer.

        Returns:
            The settings.
        """
        # a format that was chosen for the student alone is meant, and refused where it doesn't fit
        is_of_model = self.chat.student_template == self.chat.teacher_template in FORMATS
        if is_of_model and self.has_own_specials:
            try:
                template_of(student, self.chat.student_template)
            except ValueError:
                log.info(
                    "tokenizer %s lacks special tokens of the chat format '%s': the student writes "
                    "chats as its tokenizer does",
                    student.name,
                    self.chat.student_template,
                )
                return ChatSettings(**vars(self.chat) | {"student_template": None})
        return self.chat
