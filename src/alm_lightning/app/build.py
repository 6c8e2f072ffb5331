"""From a configuration to objects: the only room that calls `instantiate`."""

import logging
from dataclasses import dataclass

import lightning as L
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from transformers import PreTrainedModel

from alm_lightning.corpus.document import CorpusError, Document
from alm_lightning.corpus.heldout import split_documents
from alm_lightning.data.collator import Collator
from alm_lightning.data.datamodule import DistillDataModule
from alm_lightning.data.examples import Pairing
from alm_lightning.models.loading import check_pair, load_causal_lm, load_hf_tokenizer, torch_dtype
from alm_lightning.models.pair import Scorer
from alm_lightning.objectives.objective import Objective
from alm_lightning.tokenization.view import view_of
from alm_lightning.training.module import DistillModule

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Corpora:
    """Documents by use.

    Attributes:
        train: To train on.
        heldout: Of the training domain, never trained on.
        other: Of another domain.
    """

    train: list[Document]
    heldout: list[Document]
    other: list[Document]


def build_corpora(cfg: DictConfig) -> Corpora:
    """Reads the text, and splits held-out documents off before anything else sees them.

    Args:
        cfg: The whole configuration.

    Returns:
        The documents.
    """
    split = split_documents(
        instantiate(cfg.corpus.source).documents(),
        heldout_share=cfg.corpus.heldout_share,
        seed=cfg.corpus.split_seed,
    )
    log.info("corpus %s: %s", cfg.corpus.name, split.summary())
    other = split_documents(
        instantiate(cfg.corpus_other.source).documents(),
        heldout_share=cfg.corpus_other.heldout_share,
        seed=cfg.corpus_other.split_seed,
    ).heldout
    trained_on = {document.text for document in split.train}
    if any(document.text in trained_on for document in other):
        raise CorpusError(
            f"corpus_other ({cfg.corpus_other.name}) holds documents that are trained on, so it "
            "can't tell how the student does elsewhere. Choose another corpus_other."
        )
    log.info("other domain %s: %d documents, only evaluated on", cfg.corpus_other.name, len(other))
    return Corpora(split.train, split.heldout, other)


def build_scorers(cfg: DictConfig) -> tuple[Scorer, Scorer]:
    """Loads the teacher, and makes the student from the model that it starts as.

    Args:
        cfg: The whole configuration.

    Returns:
        Student and teacher.
    """
    teacher = load_scorer(cfg.teacher, "teacher")
    same = cfg.student.source == cfg.teacher.source
    base = teacher if same else load_scorer(cfg.student, "student")
    view = instantiate(cfg.tokenizer)(base.view)
    model: PreTrainedModel = instantiate(cfg.embeddings)(base.model, old=base.view, new=view)
    log.info(
        "student: %s with tokenizer %s, %s trained of %s parameters",
        cfg.student.name,
        view.name,
        f"{sum(p.numel() for p in model.parameters() if p.requires_grad):,}",
        f"{sum(p.numel() for p in model.parameters()):,}",
    )
    return Scorer(model, view, "student"), teacher


def load_scorer(node: DictConfig, side: str) -> Scorer:
    """Loads one model and its tokenizer.

    Args:
        node: `source`, `name` and `dtype` of a model.
        side: ``student`` or ``teacher``.

    Returns:
        The scorer.
    """
    source = instantiate(node.source)
    log.info("%s: %s", side, source.describe())
    view = view_of(load_hf_tokenizer(source), name=node.name)
    model = load_causal_lm(
        source, dtype=torch_dtype(node.dtype), attn_implementation=node.attention
    )
    check_pair(model, view.num_tokens, node.name)
    return Scorer(model, view, side)


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
    pairing = Pairing(
        student=student.view,
        teacher=teacher.view,
        alignment=instantiate(cfg.alignment),
        student_length=cfg.budget.student_length,
        teacher_length=cfg.budget.teacher_length,
    )
    return DistillDataModule(
        train=corpora.train,
        evaluation={"heldout": corpora.heldout, "other": corpora.other},
        pairing=pairing,
        dataset=instantiate(cfg.budget.dataset),
        collator=Collator(
            student=student.view,
            teacher=teacher.view,
            micro_batch_size=cfg.budget.micro_batch_size,
        ),
        batch_size=cfg.budget.batch_size,
        num_steps=cfg.budget.steps,
        evaluation_windows=cfg.budget.evaluation_windows,
        seed=cfg.seed,
        validate_during_fit=cfg.budget.validate_every is not None,
        num_workers=cfg.num_workers,
    )


def build_objective(cfg: DictConfig) -> dict[str, Objective]:
    """The terms of the loss, in the order of the configuration.

    Args:
        cfg: The whole configuration.

    Returns:
        Terms by name; a term set to null is left out.

    Raises:
        ValueError: No term is left.
    """
    terms = {name: instantiate(term) for name, term in cfg.objective.items() if term is not None}
    if not terms:
        raise ValueError("the objective has no terms: take objective=alm_next_token_hidden, say.")
    return terms


def build_module(
    cfg: DictConfig, student: Scorer, teacher: Scorer, objective: dict[str, Objective]
) -> DistillModule:
    """Puts student, teacher and objective together.

    Args:
        cfg: The whole configuration.
        student: The student.
        teacher: The teacher.
        objective: The terms of the loss.

    Returns:
        The LightningModule.
    """
    return DistillModule(
        student=student,
        teacher=teacher,
        objective=objective,
        balance=instantiate(cfg.balance),
        optimizer=instantiate(cfg.optimizer),
        schedule=instantiate(cfg.schedule),
        gradient_clip=cfg.gradient_clip,
        config=OmegaConf.to_container(cfg, resolve=True),
    )


def build_trainer(cfg: DictConfig) -> L.Trainer:
    """Lightning's trainer, with callbacks and loggers.

    Args:
        cfg: The whole configuration.

    Returns:
        The trainer.
    """
    loggers = [instantiate(node) for node in cfg.logger.values() if node is not None]
    callbacks = [instantiate(node) for node in cfg.callbacks.values() if node is not None]
    return instantiate(cfg.trainer, logger=loggers, callbacks=callbacks)
