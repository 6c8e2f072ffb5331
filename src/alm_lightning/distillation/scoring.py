"""A teacher's scores of a corpus, written once for every run that learns from them."""

import json
import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import islice
from pathlib import Path

import torch
from transformers import PreTrainedModel

from alm_lightning.alignment.boundaries import Finest
from alm_lightning.corpus.document_store import document_hash
from alm_lightning.corpus.sources.source import AnyDocument
from alm_lightning.data.datamodule import spread
from alm_lightning.data.pairing import ChatSettings, Pairing
from alm_lightning.distillation.checks import chosen_precision
from alm_lightning.distillation.data import DataPlan
from alm_lightning.distillation.models import ModelInput
from alm_lightning.likelihood.hardware import uses_cuda
from alm_lightning.scores.kinds import HIDDEN, NEXT_BYTE, TOP_K, Kinds
from alm_lightning.scores.local import LocalScorer
from alm_lightning.scores.manifest import Manifest, ScorePlan
from alm_lightning.scores.sequences import SequenceScorer
from alm_lightning.scores.server.scorer import ServerScorer
from alm_lightning.scores.server.settings import ServerSettings
from alm_lightning.scores.writing import Part, StoreWriter
from alm_lightning.tokenization.chat.choice import template_of
from alm_lightning.tokenization.load import load_tokenizer
from alm_lightning.tokenization.view import TokenizerView

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ServedTeacher:
    """A teacher behind an endpoint.

    Attributes:
        name: What errors, logs and model cards call it.
        licence: Its licence, in a few words.
        tokenizer: Where its tokenizer is, for `load_tokenizer`.
        settings: Which endpoint, and how it is asked.
    """

    name: str
    licence: str
    tokenizer: str
    settings: ServerSettings


@dataclass(frozen=True)
class _Reader:
    """Who reads the corpus.

    Attributes:
        view: The teacher's tokenizer.
        scorer: Gives the scores.
        weights: What tells its weights apart.
        hidden_size: Channels of its last hidden states; 0 where nobody knows.
        precision: What it computes in.
    """

    view: TokenizerView
    scorer: SequenceScorer
    weights: str
    hidden_size: int
    precision: str


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """What a store is made of, before anything large is read.

    Attributes:
        folder: The store's.
        teacher: The model that teaches, or a server that has it.
        data: How text is read and cut; of the lengths, the teacher's counts.
        kinds: What is kept of each token.
        most_documents: The most documents to train on that are read; None for all.
        batch_tokens: The most tokens of a forward pass.
        part: Which share of the shards is written.
        precision: What is computed in, as Lightning names it, or ``auto``.
        accelerator: Where, as Lightning names it.
        versions: Of the packages.
    """

    folder: Path
    teacher: ModelInput | ServedTeacher
    data: DataPlan
    kinds: Kinds
    most_documents: int | None
    batch_tokens: int
    part: Part
    precision: str
    accelerator: str
    versions: Mapping[str, str]

    def __post_init__(self) -> None:
        """Refuses a number of documents that is none, and what a server can't say.

        Raises:
            ValueError: The number is not above 0, or a kind can't be had.
        """
        self.data.check_first_windows()
        if isinstance(self.teacher, ServedTeacher):
            _check_served(self.kinds, self.teacher.settings)
        if self.most_documents is not None and self.most_documents < 1:
            raise ValueError(
                f"scores.documents is {self.most_documents}: expected at least 1, or null for all."
            )


def score(scoring: Scoring) -> Manifest | None:
    """Reads a corpus with a teacher, and writes what it says.

    Held-out documents are read too: a run evaluates on them.

    Args:
        scoring: What the store is made of.

    Returns:
        What the store holds; None where other parts of it are still missing.
    """
    documents = _documents(scoring)
    reader = _served(scoring) if isinstance(scoring.teacher, ServedTeacher) else _local(scoring)
    pairing = _pairing(scoring.data, reader.view)
    plan = ScorePlan(
        teacher=scoring.teacher.name,
        licence=scoring.teacher.licence,
        weights=reader.weights,
        tokenizer=reader.view.fingerprint,
        num_tokens=reader.view.num_tokens,
        hidden_size=reader.hidden_size,
        precision=reader.precision,
        template=_template(pairing.chat, reader.view, documents),
        cut_bytes=pairing.cut_bytes,
        length=scoring.data.teacher_length,
        kinds=scoring.kinds,
        corpus=tuple(c.name for c in (scoring.data.corpus, scoring.data.other) if c is not None),
        documents=len(documents),
        texts=_digest(documents),
    )
    writer = StoreWriter(
        scoring.folder,
        plan=plan,
        documents=documents,
        pairing=pairing,
        versions=dict(scoring.versions),
    )
    return writer.write(reader.scorer, scoring.part)


def _local(scoring: Scoring) -> _Reader:
    """The teacher in memory."""
    assert not isinstance(scoring.teacher, ServedTeacher)
    teacher = scoring.teacher.load("teacher", scoring.accelerator)
    precision = chosen_precision(scoring.precision, scoring.accelerator)
    device = torch.device("cpu")
    if uses_cuda(scoring.accelerator):
        # parts of one machine on a card each
        device = torch.device("cuda", scoring.part.index % torch.cuda.device_count())

    def autocast() -> AbstractContextManager[object]:
        if precision != "bf16-mixed":
            return nullcontext()
        return torch.autocast(device.type, dtype=torch.bfloat16)

    weights = weights_digest(teacher.model)
    scorer = LocalScorer(
        teacher.to(device),
        kinds=scoring.kinds,
        batch_tokens=scoring.batch_tokens,
        autocast=autocast,
    )
    return _Reader(teacher.view, scorer, weights, teacher.hidden_size, precision)


def _served(scoring: Scoring) -> _Reader:
    """The teacher behind an endpoint."""
    teacher = scoring.teacher
    assert isinstance(teacher, ServedTeacher)
    view = load_tokenizer(teacher.tokenizer)
    keep = (scoring.kinds.top or 0) if TOP_K in scoring.kinds else 0
    scorer = ServerScorer(replace(teacher.settings, keep_top=keep), view)
    settings = teacher.settings
    weights = f"{settings.model or teacher.name} on a server"
    # boundary masses are estimates from so many alternatives
    precision = f"a server's, dialect {settings.dialect}, {settings.top} alternatives"
    return _Reader(view, scorer, weights, 0, precision)


def _check_served(kinds: Kinds, settings: ServerSettings) -> None:
    for kind in (NEXT_BYTE, HIDDEN):
        if kind in kinds:
            raise ValueError(
                f"scores.kinds has {kind}, which no endpoint says: it would need the teacher's "
                "weights. From a server come alm and top_k: give scores.kinds=[alm] or [top_k], "
                "and train with objective=alm_next_token, or bpm."
            )
    if TOP_K in kinds and (kinds.top is None or kinds.top > settings.top):
        raise ValueError(
            f"scores.top is {kinds.top}, and the endpoint is asked for {settings.top} alternatives "
            "(teacher.server.top). Raise that, as far as the endpoint goes, or lower scores.top."
        )


def weights_digest(model: PreTrainedModel) -> str:
    """Hash of a model's parameters, their names and types, and of what it computes with them.

    Args:
        model: The model.

    Returns:
        Equal for equal weights alone.
    """
    config = model.config
    # where it was loaded from, and by what, changes no number
    left_out = ("transformers_version", "_name_or_path")
    settings = {key: value for key, value in config.to_dict().items() if key not in left_out}
    text = json.dumps([settings, config._attn_implementation], sort_keys=True, default=str)
    digest = blake2b(text.encode("utf-8"), digest_size=16)
    for name, parameter in model.named_parameters():
        digest.update(f"{name} {parameter.dtype} {tuple(parameter.shape)}".encode())
        values = parameter.detach().cpu().contiguous()
        digest.update(values.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _documents(scoring: Scoring) -> list[AnyDocument]:
    """All documents that a run may need, those that it evaluates on first."""
    found, most = scoring.data.read(), scoring.most_documents
    heldout: list[AnyDocument] = []
    for documents in found.evaluation.values():
        # with a part of the corpus goes a part of what is evaluated on: that of this budget
        at_most = len(documents) if most is None else scoring.data.evaluation_windows
        heldout += [documents[index] for index in spread(len(documents), at_most)]
    return [*heldout, *islice(iter(found.train), most)]


def _pairing(data: DataPlan, view: TokenizerView) -> Pairing:
    """The teacher's tokenizer on both sides: texts go the same way as in a run."""
    chat = vars(data.chat) | {
        # what is trained on, a run says; scores are of starts of chats, whatever comes first
        "trained": "all",
        "student_template": data.chat.teacher_template,
    }
    return Pairing(
        student=view,
        teacher=view,
        alignment=Finest(),
        student_length=data.teacher_length,
        teacher_length=data.teacher_length,
        chat=ChatSettings(**chat),
        on_bad=data.on_bad,
        cut_bytes=data.cut_bytes,
    )


def _template(
    chat: ChatSettings, view: TokenizerView, documents: list[AnyDocument]
) -> dict[str, str | None]:
    """What decides how the teacher sees chats; nothing where there are none."""
    if not any(hasattr(document, "messages") for document in documents):
        return {}
    return {"system": chat.system, "template": template_of(view, chat.teacher_template).jinja}


def _digest(documents: list[AnyDocument]) -> str:
    digest = blake2b(digest_size=16)
    for document in documents:
        digest.update(document_hash(document).to_bytes(8, "little", signed=True))
    return digest.hexdigest()
