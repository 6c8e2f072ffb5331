"""Weights of an ensemble's members under which a text is most likely, stored in a file."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from alm_lightning.corpus.sources.source import AnyDocument
from alm_lightning.evaluation.ensemble.weights import fitted_weights
from alm_lightning.evaluation.evaluated_model import EvaluatedModel
from alm_lightning.evaluation.harness import Harness
from alm_lightning.evaluation.scoring import Row, score_rows
from alm_lightning.evaluation.suites.bits_per_byte import BitsPerByte
from alm_lightning.evaluation.suites.compare import Compare
from alm_lightning.evaluation.texts import digest
from alm_lightning.tokenization.view import TokenizerView

log = logging.getLogger(__name__)
WEIGHTS = "weights.json"


@dataclass(frozen=True)
class FitText:
    """The text that weights are fitted on.

    Attributes:
        name: Name of the corpus.
        documents: By keys that end in a hash of their text.
        most_bytes: Read of each, from its start.
    """

    name: str
    documents: Mapping[str, AnyDocument]
    most_bytes: int

    def __post_init__(self):
        """Refuses a length below 1."""
        if self.most_bytes < 1:
            raise ValueError(f"model.fit_bytes is {self.most_bytes}: expected at least 1.")

    def identity(self) -> dict[str, object]:
        """What tells it from another text, in JSON."""
        return {
            "corpus": self.name,
            "documents": len(self.documents),
            "bytes": self.most_bytes,
            "text": digest("\n".join(self.documents)),
        }


@dataclass(frozen=True)
class Fitted:
    """Weights, and what they were fitted on.

    Attributes:
        weights: One a member, with a sum of 1.
        documents: Number of documents.
        tokens: Number of tokens.
    """

    weights: list[float]
    documents: int
    tokens: int


def refuse_same_text(text: FitText, harnesses: Mapping[str, Harness]) -> None:
    """Refuses to fit weights on documents that are evaluated on.

    Args:
        text: What weights are fitted on.
        harnesses: By name, prepared; those that do not read documents are not checked.

    Raises:
        ValueError: A document is in both.
    """
    own = {_hash(key) for key in text.documents}
    for name, harness in harnesses.items():
        if not isinstance(harness, BitsPerByte | Compare):
            continue
        same = own & {_hash(key) for key in harness.documents}
        if same:
            raise ValueError(
                f"{len(same)} of the {len(own)} documents of corpus_fit ({text.name}), which "
                f"weights are fitted on, are evaluated on by harness={name} as well: the ensemble "
                "would look better than it is. Take another text (corpus@corpus_fit=...), or "
                f"other parts of one: harness.{name}.leave_out=0.9 evaluates on the last tenth of "
                "a corpus, and weights are fitted on its first model.fit_documents."
            )


def _hash(key: str) -> str:
    return key.partition(":")[2]


def fit(members: Sequence[EvaluatedModel], combine: str, text: FitText) -> Fitted:
    """Fits the weights of `members`, which share a tokenizer, to a text."""
    most_tokens = min(member.context_length for member in members) - 1
    rows = [
        front_row(members[0].view, document.text, text.most_bytes, most_tokens)
        for document in text.documents.values()
    ]
    logprobs = []
    for member in members:
        scores = dict(score_rows(member, rows))
        logprobs.append(np.concatenate([scores[index] for index in range(len(rows))]))
    weights = fitted_weights(torch.from_numpy(np.stack(logprobs)), combine).tolist()
    log.info(
        "weights fitted on %d documents of %s, %s tokens: %s",
        len(rows),
        text.name,
        f"{len(logprobs[0]):,}",
        ", ".join(f"{m.name} {w:.3f}" for m, w in zip(members, weights, strict=True)),
    )
    return Fitted(weights, len(rows), len(logprobs[0]))


def front_row(view: TokenizerView, text: str, most_bytes: int, most_tokens: int) -> Row:
    """The front of a text that is not empty, after a start token.

    It has at most `most_bytes` and `most_tokens`, but always one token.
    """
    ids = view.encode(text).ids
    ends = np.cumsum(view.byte_lengths[ids])
    count = max(int(np.searchsorted(ends, most_bytes, side="right")), 1)
    return Row(np.concatenate([[view.start_id], ids[: min(count, most_tokens)]]))


def fitted_weights_of(folder: Path, identity: Mapping[str, object]) -> Fitted | None:
    """The weights that an earlier call has stored in the folder of an ensemble.

    None if there are none, or if they were fitted for another `identity`.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        return None
    stored = json.loads(path.read_text("utf-8"))
    # in JSON, tuples are lists
    if stored.pop("identity") != json.loads(json.dumps(identity)):
        return None
    return Fitted(**stored)


def store_weights(folder: Path, identity: Mapping[str, object], fitted: Fitted) -> None:
    """Stores weights in the folder of an ensemble, with what they depend on."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{WEIGHTS}.partial"
    text = json.dumps({**asdict(fitted), "identity": identity}, indent=2, ensure_ascii=False)
    partial.write_text(text + "\n", "utf-8")
    partial.replace(folder / WEIGHTS)
