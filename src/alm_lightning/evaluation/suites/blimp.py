"""BLiMP: which of two sentences that differ in one point of grammar a model finds more likely."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from alm_lightning.corpus.document import CorpusError, decode
from alm_lightning.corpus.sources.compression import opened
from alm_lightning.evaluation.estimates import share
from alm_lightning.evaluation.evaluated_model import EvaluatedModel
from alm_lightning.evaluation.harness import Record, Result
from alm_lightning.evaluation.scoring import Row, score_rows
from alm_lightning.evaluation.texts import digest

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
        for row in _rows(self.path):
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
        right = {key: record["difference_nats"] > 0 for key, record in records.items()}
        groups = {}
        for by in ("phenomenon", "term"):
            members: dict[str, list[bool]] = {}
            for key, record in records.items():
                members.setdefault(str(record[by]), []).append(right[key])
            groups[by] = {
                name: {"accuracy": share(np.array(values))}
                for name, values in sorted(members.items())
            }
        return Result({"accuracy": share(np.array(list(right.values())))}, groups)


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


def _rows(path: Path) -> Iterator[dict[str, str]]:
    if not path.is_file():
        raise CorpusError(
            f"There is no file at '{path}'. Give path (harness.blimp.path), a file of minimal "
            f"pairs with the columns {', '.join(COLUMNS)} (github.com/alexwarstadt/blimp has them)."
        )
    with opened(path) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(decode(line, f"{path}:{number}"))
                missing = [name for name in COLUMNS if not isinstance(row.get(name), str)]
            except (json.JSONDecodeError, AttributeError) as error:
                raise CorpusError(
                    f"{path}:{number} is not a JSON object ({error}). Expected one a line."
                ) from error
            if missing:
                raise CorpusError(
                    f"{path}:{number} has no text in {', '.join(missing)}; it has the columns "
                    f"{', '.join(row)}. Expected minimal pairs with {', '.join(COLUMNS)}."
                )
            yield row
