"""A student beside its teacher on the same text: bits per byte, and how far their chunks agree."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float

from alm_lightning.alignment.boundaries import ChunkSelection, Finest, Whitespace
from alm_lightning.corpus.document import CorpusError
from alm_lightning.corpus.sources.source import AnyDocument, Source
from alm_lightning.data.collator import Collator
from alm_lightning.data.pairing import ChatSettings, Pairing
from alm_lightning.data.windows import Window, bytes_without_window
from alm_lightning.evaluation.estimates import ratio
from alm_lightning.evaluation.evaluated_model import EvaluatedModel
from alm_lightning.evaluation.harness import Figure, Record, Result, grouped
from alm_lightning.evaluation.paired import chunk_lengths, side_of, totals_of
from alm_lightning.evaluation.texts import digest, keyed_documents
from alm_lightning.metrics.totals import FIELDS, OUTSIDE
from alm_lightning.tokenization.view import TokenizerView

MOST_CHUNKS = 600
"""Chunks of a document that a report shows: a page or two."""


class Compare:
    """Every document under both tokenizers, in windows as in training; both models read both.

    Figures are those that training prints, over whole documents. `chunk_agreement` is the mean of
    1 - |p_T - p_S| over chunks.

    Args:
        load_teacher: Loads the teacher, when it is needed.
        teacher: What the teacher is called.
        source: The text.
        alignment: Which common boundaries bound chunks.
        chat: How chats are paired.
        student_length: The most tokens of a student's window, BOS and EOS included.
        teacher_length: The same for the teacher.
        batch_size: Windows of one forward pass.
        leave_out: Share of the documents, from the front, that is left out.
        max_documents: How many documents to take at most; None for all.
        shown_documents: How many, spread over all, are kept chunk by chunk, for the report.
    """

    def __init__(
        self,
        *,
        load_teacher: Callable[[], EvaluatedModel],
        teacher: str,
        source: Source,
        alignment: ChunkSelection,
        chat: ChatSettings,
        student_length: int,
        teacher_length: int,
        batch_size: int,
        leave_out: float,
        max_documents: int | None,
        shown_documents: int,
    ):
        self.load_teacher, self.source, self.alignment, self.chat = (
            load_teacher,
            source,
            alignment,
            chat,
        )
        self.lengths = (student_length, teacher_length)
        self.batch_size, self.shown = batch_size, shown_documents
        self.leave_out, self.most = leave_out, max_documents
        self.documents: dict[str, AnyDocument] = {}
        self._teacher: EvaluatedModel | None = None

    def prepare(self) -> Sequence[str]:
        """Reads the documents; returns a key for each."""
        documents = keyed_documents(self.source, leave_out=self.leave_out, max_documents=self.most)
        if not isinstance(self.alignment, Finest | Whitespace):
            # it is fitted on all of them: with other documents it chooses other chunks of each
            basis = digest("\n".join(documents))
            documents = {f"{key}:{basis}": document for key, document in documents.items()}
        self.documents = documents
        return list(self.documents)

    def records(
        self, evaluated: EvaluatedModel, keys: Sequence[str]
    ) -> Iterator[tuple[str, Record]]:
        """Scores documents by both models; yields totals, and chunks of those that are shown."""
        if self._teacher is None:
            self._teacher = self.load_teacher()
        teacher = self._teacher
        views = {"student": evaluated.view, "teacher": teacher.view}
        pairing = Pairing(
            **views,
            alignment=self.alignment.fitted(**views, documents=list(self.documents.values())),
            student_length=min(self.lengths[0], evaluated.context_length),
            teacher_length=min(self.lengths[1], teacher.context_length),
            chat=self.chat,
        )
        collator = Collator(**views, micro_batch_size=self.batch_size)
        shown = self._shown_keys()
        for key in keys:
            document = self.documents[key]
            windows = pairing.windows(document)
            if windows:
                record = self._record(windows, collator, evaluated, teacher)
            else:
                record = _nothing_read(pairing, document)
            record |= {"group": document.group, "name": document.name}
            if key not in shown:
                del record["shown"]
            yield key, record

    def _shown_keys(self) -> set[str]:
        # spread over the text: a file sorted by language would show the first of them alone
        keys = list(self.documents)
        count = min(self.shown, len(keys))
        return {keys[place * len(keys) // count] for place in range(count)}

    def _record(
        self,
        windows: Sequence[Window],
        collator: Collator,
        evaluated: EvaluatedModel,
        teacher: EvaluatedModel,
    ) -> Record:
        totals: Counter[str] = Counter()
        lengths: Counter[str] = Counter()
        byte_lengths = torch.from_numpy(evaluated.view.byte_lengths.astype(np.float64))
        chunks: list[list[object]] = []
        for start in range(0, len(windows), self.batch_size):
            own = windows[start : start + self.batch_size]
            batch = collator.batch(own)
            sides = side_of(evaluated, batch, batch.student), side_of(teacher, batch, batch.teacher)
            totals.update(totals_of(batch, *sides))
            lengths.update(str(int(n)) for n in chunk_lengths(batch, byte_lengths))
            for row, window in enumerate(own):
                texts = _chunk_texts(window, evaluated.view)
                values = zip(*(side.chunk_logprobs[row].tolist() for side in sides), strict=True)
                chunks += [[text, *pair] for text, pair in zip(texts, values, strict=False)]
        return {**totals, "chunk_bytes": dict(lengths), "shown": chunks[:MOST_CHUNKS]}

    def result(self, records: Mapping[str, Record]) -> Result:
        """Figures over all documents and by group; as samples the chunks of the documents shown."""
        # of a document without a window nothing is scored, but its bytes are covered by no chunk
        counted = {key: record for key, record in records.items() if record.get("bytes")}
        if not counted:
            raise CorpusError(
                f"none of the {len(records)} documents leaves a chunk to compare. Of chats, "
                "chat.trained (harness.compare.chat.trained) says what counts; else take other "
                "text, or longer windows (student_length, teacher_length of harness.compare)."
            )
        lengths: Counter[str] = Counter()
        for record in counted.values():
            lengths.update(record["chunk_bytes"])
        by_group = {n: paired_figures(own) for n, own in grouped(counted, "group").items()}
        groups = {"group": by_group} if by_group else {}
        num_chunks = sum(lengths.values())
        groups["chunk_bytes"] = {
            length: {"share": Figure(lengths[length] / num_chunks, None, lengths[length], "share")}
            for length in sorted(lengths, key=int)
        }
        samples = [
            {
                "document": _title(record),
                "chunks": [
                    {"text": text, "student": student, "teacher": teacher}
                    for text, student, teacher in record["shown"]
                ],
            }
            for record in counted.values()
            if record.get("shown")
        ]
        figures = paired_figures(list(counted.values()))
        figures["coverage"] = _coverage(
            [record for record in records.values() if "bytes" in record]
        )
        return Result(figures, groups, samples)


def _nothing_read(pairing: Pairing, document: AnyDocument) -> Record:
    """The record of a document that leaves no window."""
    outside = bytes_without_window(pairing.aligned(document)).tolist()
    return {
        **dict.fromkeys((*FIELDS, "chunk_agreement"), 0.0),
        **dict(zip(OUTSIDE, map(float, outside), strict=True)),
        "chunk_bytes": {},
        "shown": [],
    }


def _title(record: Record) -> str:
    group = record["group"]
    return str(record["name"]) if group is None else f"{record['name']} ({group})"


def paired_figures(records: Sequence[Mapping[str, object]]) -> dict[str, Figure]:
    """Figures of student and teacher, from the totals of documents or of batches (`totals_of`)."""

    def column(name: str) -> Float[np.ndarray, " item"]:
        return _column(records, name)

    num_bytes, chunks = column("bytes"), column("chunks")
    bit = math.log(2)
    return {
        "bits_per_byte": ratio(
            column("student_nats") / bit, num_bytes, "bits/byte", lower_is_better=True
        ),
        "bits_per_byte_teacher": ratio(
            column("teacher_nats") / bit, num_bytes, "bits/byte", lower_is_better=True
        ),
        "chunk_difference": ratio(
            column("chunk_difference_nats"), chunks, "nats", lower_is_better=True
        ),
        "chunk_agreement": ratio(column("chunk_agreement"), chunks, "share", lower_is_better=False),
        "coverage": _coverage(records),
        "bytes_per_chunk": ratio(num_bytes, chunks, "bytes", lower_is_better=None),
        "student_tokens_per_chunk": ratio(
            column("student_tokens"), chunks, "tokens", lower_is_better=None
        ),
        "teacher_tokens_per_chunk": ratio(
            column("teacher_tokens"), chunks, "tokens", lower_is_better=None
        ),
        "bytes": Figure(float(num_bytes.sum()), None, len(records), "bytes"),
    }


def _coverage(records: Sequence[Mapping[str, object]]) -> Figure:
    """The share of all bytes that lies in chunks, those that are not trained on included."""
    inside = _column(records, "bytes") + _column(records, "outside_bytes_untrained")
    outside = sum(
        _column(records, name)
        for name in records[0]
        if name.startswith("outside_bytes_") and name != "outside_bytes_untrained"
    )
    return ratio(inside, inside + outside, "share", lower_is_better=False)


def _column(records: Sequence[Mapping[str, object]], name: str) -> Float[np.ndarray, " item"]:
    return np.array([record[name] for record in records], dtype=np.float64)


def _chunk_texts(window: Window, view: TokenizerView) -> list[str]:
    """What each chunk of a window spells, structure by the text of its tokens."""
    names = {index: text for text, index in view.special_ids.items()}
    spelled: list[bytes] = [b""] * window.num_chunks
    for index, chunk in zip(window.student.ids.tolist(), window.student.chunk_ids, strict=True):
        if chunk >= 0:
            surface = view.token_bytes[index]
            spelled[chunk] += names.get(index, "").encode() if surface is None else surface
    return [raw.decode("utf-8", errors="replace") for raw in spelled]
