"""BLiMP: which of two sentences that differ in one point of grammar a model finds more likely."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from alm_lightning.corpus.document import CorpusError
from alm_lightning.evaluation.estimates import share
from alm_lightning.evaluation.evaluated_model import EvaluatedModel
from alm_lightning.evaluation.harness import Figure, Record, Result, grouped
from alm_lightning.evaluation.scoring import Row, score_rows
from alm_lightning.evaluation.texts import digest, json_lines

COLUMNS = ("UID", "linguistics_term", "sentence_good", "sentence_bad")
PAIRS_AT_ONCE = 128
"""Pairs that are written together: a stopped run loses less than these."""


class Blimp:
    """Accuracy on minimal pairs: the sum of log-likelihoods decides, a tie is wrong.

    The tokens that both sentences begin with are read, but not scored: they have the same
    likelihood in both.

    Reference: Warstadt et al. (2020), arXiv:1912.00582.

    Args:
        path: A file with one pair a line, plain or compressed (``.jsonl.gz``), with the columns
            of the published data.
        pairs: How many pairs of each phenomenon to take, from the front; None for all.
    """

    def __init__(self, *, path: str, pairs: int | None):
        if pairs is not None and pairs < 1:
            raise ValueError(
                f"pairs is {pairs} (harness.blimp.pairs): expected at least 1, or None (null) for "
                "all."
            )
        self.path, self.most = Path(path).expanduser(), pairs
        self.pairs: dict[str, dict[str, str]] = {}

    def prepare(self) -> Sequence[str]:
        """Reads the pairs; a key has the phenomenon, the place in it, and a hash of the texts."""
        seen: Counter[str] = Counter()
        for row in _pairs(self.path):
            uid = row["UID"]
            if self.most is None or seen[uid] < self.most:
                text = f"{row['sentence_good']}\n{row['sentence_bad']}"
                self.pairs[f"{uid}:{seen[uid]}:{digest(text)}"] = row
                seen[uid] += 1
        if not self.pairs:
            raise CorpusError(f"{self.path} holds no pairs. Expected one JSON object a line.")
        return list(self.pairs)

    def records(
        self, evaluated: EvaluatedModel, keys: Sequence[str]
    ) -> Iterator[tuple[str, Record]]:
        """Scores pairs; yields the phenomenon, and the good sentence's lead in nats."""
        for start in range(0, len(keys), PAIRS_AT_ONCE):
            chosen = keys[start : start + PAIRS_AT_ONCE]
            rows = [row for key in chosen for row in _minimal_rows(evaluated, self.pairs[key])]
            sums = np.zeros(len(rows))
            for index, logprobs in score_rows(evaluated, rows):
                sums[index] = logprobs.sum()
            for key, good, bad in zip(chosen, sums[::2], sums[1::2], strict=True):
                pair = self.pairs[key]
                yield (
                    key,
                    {
                        "phenomenon": pair["UID"],
                        "term": pair["linguistics_term"],
                        "difference_nats": float(good - bad),
                    },
                )

    def result(self, records: Mapping[str, Record]) -> Result:
        """Accuracy over all pairs, by phenomenon and by linguistic term."""
        groups = {
            by: {name: _accuracy(own) for name, own in grouped(records, by).items()}
            for by in ("phenomenon", "term")
        }
        return Result(_accuracy(records.values()), groups)


def _accuracy(records: Iterable[Record]) -> dict[str, Figure]:
    return {"accuracy": share(np.array([record["difference_nats"] > 0 for record in records]))}


def _minimal_rows(evaluated: EvaluatedModel, pair: Mapping[str, str]) -> tuple[Row, Row]:
    view = evaluated.view
    good, bad = (
        np.concatenate([[view.start_id], view.encode(pair[column], name=column).ids])
        for column in ("sentence_good", "sentence_bad")
    )
    shortest = min(len(good), len(bad))
    differs = np.flatnonzero(good[:shortest] != bad[:shortest])
    # where one is the start of the other, or both are alike, the last token is scored in any case
    first = int(differs[0]) if len(differs) else shortest - 1
    return Row(good, max(first, 1)), Row(bad, max(first, 1))


def _pairs(path: Path) -> Iterator[dict[str, str]]:
    columns = ", ".join(COLUMNS)
    expected = (
        f"minimal pairs with the columns {columns} (github.com/alexwarstadt/blimp has them; "
        "path is harness.blimp.path)"
    )
    for name, row in json_lines(path, expected):
        missing = [column for column in COLUMNS if not isinstance(row.get(column), str)]
        if missing:
            raise CorpusError(
                f"{name} has no text in {', '.join(missing)}; it has the columns "
                f"{', '.join(row)}. Expected minimal pairs with {columns}."
            )
        yield row
