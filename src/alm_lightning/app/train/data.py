"""From a configuration to documents, and to the data of a run."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hydra.utils import instantiate
from omegaconf import DictConfig

from alm_lightning.corpus.bad_documents import BadDocuments, Refuse, Skip
from alm_lightning.corpus.document import CorpusError
from alm_lightning.corpus.heldout import Split
from alm_lightning.corpus.sources.source import AnyDocument
from alm_lightning.data.collator import Collator
from alm_lightning.data.datamodule import DistillDataModule
from alm_lightning.data.pairing import ChatSettings, Pairing
from alm_lightning.models.pair import Scorer
from alm_lightning.tokenization.chat.choice import template_of
from alm_lightning.tokenization.chat.formats import FORMATS
from alm_lightning.tokenization.specials.roles import REPLACE
from alm_lightning.tokenization.view import TokenizerView

log = logging.getLogger(__name__)
ON_BAD_DOCUMENT = {"error": Refuse, "skip": Skip}
"""What the setting `on_bad_document` may say."""


@dataclass(frozen=True)
class Corpora:
    """Documents by use.

    Attributes:
        train: To train on: a sequence, or a stream.
        heldout: Of the training domain, never trained on.
        other: Of another domain.
        on_bad: What becomes of a bad document, here and in pairing.
    """

    train: Iterable[AnyDocument]
    heldout: Sequence[AnyDocument]
    other: Sequence[AnyDocument]
    on_bad: BadDocuments


def build_corpora(cfg: DictConfig) -> Corpora:
    """Reads the text, and splits held-out documents off before anything else sees them.

    Args:
        cfg: The whole configuration.

    Returns:
        The documents.

    Raises:
        CorpusError: The other domain holds text that is trained on.
    """
    on_bad = ON_BAD_DOCUMENT[cfg.on_bad_document]()
    split = _split(cfg, cfg.corpus, on_bad)
    log.info("corpus %s: %s", cfg.corpus.name, split.summary())
    other = _split(cfg, cfg.corpus_other, on_bad).heldout
    if any(split.trains_on(document) for document in other):
        raise CorpusError(
            f"corpus_other ({cfg.corpus_other.name}) holds documents that are trained on, so it "
            "can't tell how the student does elsewhere. Choose another corpus_other."
        )
    log.info("other domain %s: %d documents, only evaluated on", cfg.corpus_other.name, len(other))
    return Corpora(split.train, split.heldout, other, on_bad)


def _split(cfg: DictConfig, corpus: DictConfig, on_bad: BadDocuments) -> Split:
    return instantiate(cfg.windows.documents).split(
        instantiate(corpus.source),
        on_bad=on_bad,
        heldout_share=corpus.heldout_share,
        seed=corpus.split_seed,
    )


def build_data(
    cfg: DictConfig, corpora: Corpora, student: Scorer, teacher: Scorer
) -> DistillDataModule:
    """Pairs the documents.

    Args:
        cfg: The whole configuration.
        corpora: The documents.
        student: The student, for its tokenizer.
        teacher: The teacher, for its tokenizer.

    Returns:
        The data module.
    """
    views = {"student": student.view, "teacher": teacher.view}
    pairing = Pairing(
        **views,
        # fitted once, before anything is paired, on what is trained on alone
        alignment=instantiate(cfg.alignment).fitted(**views, documents=corpora.train),
        student_length=cfg.budget.student_length,
        teacher_length=cfg.budget.teacher_length,
        chat=chat_settings(cfg, student.view),
        on_bad=corpora.on_bad,
    )
    return DistillDataModule(
        train=corpora.train,
        evaluation={"heldout": corpora.heldout, "other": corpora.other},
        pairing=pairing,
        dataset=instantiate(cfg.windows.dataset),
        collator=Collator(
            **views,
            micro_batch_size=cfg.budget.micro_batch_size,
            packing=instantiate(cfg.packing),
        ),
        batch_size=cfg.budget.batch_size,
        num_steps=cfg.budget.steps,
        evaluation_windows=cfg.budget.evaluation_windows,
        seed=cfg.seed,
        validate_during_fit=cfg.budget.validate_every is not None,
        num_workers=cfg.num_workers,
    )


def chat_settings(cfg: DictConfig, student: TokenizerView) -> ChatSettings:
    """How chats are paired.

    The configuration of a model names the format of its chats, for both sides. A student that has
    its new tokenizer's own special tokens, and not those of this format, writes chats as that
    tokenizer does.

    Args:
        cfg: The whole configuration.
        student: The student's tokenizer.

    Returns:
        The settings.
    """
    chat = instantiate(cfg.chat)
    # a format that was chosen for the student alone is meant, and refused where it does not fit
    is_of_model = chat.student_template == chat.teacher_template in FORMATS
    if is_of_model and cfg.tokenizer.get("special_tokens") == REPLACE:
        try:
            template_of(student, chat.student_template)
        except ValueError:
            log.info(
                "tokenizer %s lacks special tokens of the chat format '%s': the student writes "
                "chats as its tokenizer does",
                student.name,
                chat.student_template,
            )
            chat.student_template = None
    return chat
