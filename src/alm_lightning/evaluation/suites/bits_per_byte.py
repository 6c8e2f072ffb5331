"""Bits per byte: how well a model predicts a text, on a scale that knows no tokenizer."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from alm_lightning.corpus.document import CorpusError, Document
from alm_lightning.corpus.sources.source import Source
from alm_lightning.evaluation.estimates import ratio
from alm_lightning.evaluation.evaluated_model import EvaluatedModel
from alm_lightning.evaluation.harness import Figure, Record, Result, grouped
from alm_lightning.evaluation.scoring import Row, score_rows
from alm_lightning.evaluation.texts import keyed_documents

DOCUMENTS_AT_ONCE = 32
"""Documents that are written together: a stopped run loses less than these."""


class BitsPerByte:
    """Bits per byte of whole documents, each byte counted once.

    A document that is longer than the context is read in windows that slide on by `stride_bytes`:
    every token is scored once, with the text before it as far as `context_bytes` reach. Windows are
    measured in bytes, so that models with different tokenizers see the same text; one whose own
    context is shorter sees as much as it can. Each window begins with the tokenizer's start token.

    Args:
        source: The text.
        context_bytes: The most bytes that a model reads at once.
        stride_bytes: The most bytes that are scored in a window after the first.
        leave_out: Share of the documents, from the front, that is left out.
        max_documents: How many documents to take at most; None for all.
    """

    def __init__(
        self,
        *,
        source: Source,
        context_bytes: int,
        stride_bytes: int,
        leave_out: float,
        max_documents: int | None,
    ):
        if not 0 < stride_bytes <= context_bytes:
            raise ValueError(
                f"stride_bytes is {stride_bytes} and context_bytes {context_bytes}: expected a "
                "stride above 0, and no longer than the context."
            )
        self.source, self.leave_out, self.most = source, leave_out, max_documents
        self.context_bytes, self.stride_bytes = context_bytes, stride_bytes
        self.documents: dict[str, Document] = {}

    def prepare(self) -> Sequence[str]:
        """Reads the documents; returns a key for each."""
        found = keyed_documents(self.source, leave_out=self.leave_out, max_documents=self.most)
        for document in found.values():
            if not isinstance(document, Document):
                raise CorpusError(
                    f"{document.name} is a chat: bits_per_byte reads plain text. Choose a column "
                    "with text, or the suite compare (harness=compare), which reads chats, too."
                )
        self.documents = found
        return list(found)

    def records(
        self, evaluated: EvaluatedModel, keys: Sequence[str]
    ) -> Iterator[tuple[str, Record]]:
        """Scores documents; yields nats, bytes and tokens of each."""
        for start in range(0, len(keys), DOCUMENTS_AT_ONCE):
            chosen = keys[start : start + DOCUMENTS_AT_ONCE]
            rows: list[Row] = []
            owners: list[int] = []
            made = []
            for place, key in enumerate(chosen):
                document = self.documents[key]
                encoding = evaluated.view.encode(document.text, name=document.name)
                unknown = encoding.unknown
                own = self.windows(evaluated, encoding.ids)
                rows += own
                owners += [place] * len(own)
                made.append(
                    {
                        "bytes": len(document.text.encode("utf-8")),
                        "tokens": len(encoding.ids),
                        "rewritten_bytes": encoding.rewritten_bytes,
                        "unknown_tokens": 0 if unknown is None else int(unknown.sum()),
                        "group": document.group,
                    }
                )
            nats, scored = np.zeros(len(chosen)), np.zeros(len(chosen), dtype=np.int64)
            for index, logprobs in score_rows(evaluated, rows):
                nats[owners[index]] -= logprobs.sum()
                scored[owners[index]] += len(logprobs)
            for place, key in enumerate(chosen):
                if scored[place] != made[place]["tokens"]:
                    raise RuntimeError(
                        f"document {key}: {scored[place]} of {made[place]['tokens']} tokens were "
                        "scored: this is a bug. Open an issue with the text."
                    )
                yield key, {"nats": float(nats[place]), **made[place]}

    def windows(self, evaluated: EvaluatedModel, ids: Int[np.ndarray, " pos"]) -> list[Row]:
        """The windows of a document, each after a start token; every token is scored in one."""
        view = evaluated.view
        # ends[i]: bytes before token i
        ends = np.concatenate([[0], np.cumsum(view.byte_lengths[ids])])
        most_tokens = evaluated.context_length - 1
        rows, scored = [], 0
        while scored < len(ids):
            reach = self.context_bytes if scored == 0 else self.stride_bytes
            stop = int(np.searchsorted(ends, ends[scored] + reach, side="right")) - 1
            # a token longer than the reach is scored all the same
            stop = max(stop, scored + 1)
            stop = min(stop, scored + (most_tokens if scored == 0 else max(most_tokens // 2, 1)))
            start = int(np.searchsorted(ends, ends[stop] - self.context_bytes, side="left"))
            start = min(max(start, stop - most_tokens), scored)
            row = np.concatenate([[view.start_id], ids[start:stop]])
            rows.append(Row(row, first=1 + scored - start))
            scored = stop
        return rows

    def result(self, records: Mapping[str, Record]) -> Result:
        """Bits per byte of all documents, and by group."""
        groups = {name: _figures(own) for name, own in grouped(records, "group").items()}
        return Result(_figures(list(records.values())), {"group": groups} if groups else {})


def _figures(records: Sequence[Record]) -> dict[str, Figure]:
    def column(name: str) -> Float[np.ndarray, " item"]:
        return np.array([record[name] for record in records], dtype=np.float64)

    num_bytes = column("bytes")
    bits = column("nats") / math.log(2)
    figures = {
        "bits_per_byte": ratio(bits, num_bytes, "bits/byte", lower_is_better=True),
        "bytes_per_token": ratio(num_bytes, column("tokens"), "bytes", lower_is_better=None),
        "bytes": Figure(float(num_bytes.sum()), None, len(records), "bytes"),
    }
    for name, unit in (("rewritten_bytes", "bytes"), ("unknown_tokens", "tokens")):
        total = float(column(name).sum())
        if total:
            figures[name] = Figure(total, None, len(records), unit)
    return figures
