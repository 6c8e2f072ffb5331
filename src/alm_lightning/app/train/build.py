"""From a configuration to the plan of a run: objects, and nothing large read."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import lightning as L
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError
from transformers import PreTrainedModel

from alm_lightning.distillation.checks import chosen_precision, chosen_workers
from alm_lightning.distillation.data import ON_BAD_DOCUMENT, Corpus, DataPlan
from alm_lightning.distillation.models import PairPlan, StoredModel, TeacherInput
from alm_lightning.distillation.run import Plan
from alm_lightning.distillation.stores import SeveralScores, StoredScores, scored
from alm_lightning.likelihood.hardware import uses_cuda
from alm_lightning.scores.ensemble import LOSSES
from alm_lightning.tokenization.specials.roles import REPLACE

log = logging.getLogger(__name__)

SCORES = "scores"
"""The setting of a teacher that is read from a store."""
SERVER = "server"
"""The setting of one that is behind an endpoint."""
LOADED = ("source", "dtype", "attention")
"""Settings of a student and a teacher that are one model, loaded once, where these are equal."""


def plan_of(cfg: DictConfig) -> Plan:
    """What a run is made of.

    Args:
        cfg: The whole configuration.

    Returns:
        The plan; terms of the objective that are null are left out.
    """
    # these first: what a setting lacks is said by what it is for
    pair, data = pair_plan(cfg), data_plan(cfg)
    config = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    if isinstance(pair.teacher, StoredScores | SeveralScores):
        # a path may hold another store by the time when the run goes on
        config["teacher"]["name"] = pair.teacher.name
        config["teacher"]["scores"]["identity"] = pair.teacher.identity
    return Plan(
        pair=pair,
        data=data,
        objective={k: instantiate(term) for k, term in cfg.objective.items() if term is not None},
        balance=instantiate(cfg.balance),
        optimizer=instantiate(cfg.optimizer),
        schedule=instantiate(cfg.schedule),
        gradient_clip=cfg.gradient_clip,
        trainer=lambda: build_trainer(cfg),
        accelerator=cfg.trainer.accelerator,
        config=config,
        checkpoint=cfg.ckpt_path,
        on_policy=instantiate(cfg.on_policy),
    )


def pair_plan(cfg: DictConfig) -> PairPlan:
    """How student and teacher are made.

    Args:
        cfg: The whole configuration.

    Returns:
        The plan.
    """
    if SERVER in cfg.teacher:
        raise ValueError(
            "teacher=server is asked by python -m alm_lightning.score, which keeps its answers in "
            "a store: call that with the same settings and scores.path=DIR, and train with "
            "teacher=scores teacher.scores.path=DIR."
        )
    if SCORES in cfg.teacher:
        teacher: TeacherInput = _scored(cfg.teacher.scores)
        differences = ["weights"]
    else:
        teacher = stored_model(cfg.teacher)
        differences = [key for key in LOADED if cfg.student[key] != cfg.teacher[key]]
    return PairPlan(
        student=stored_model(cfg.student),
        teacher=teacher,
        differences=differences,
        tokenizer=instantiate(cfg.tokenizer),
        embeddings=_embeddings(cfg.embeddings),
        adapter=instantiate(cfg.adapter),
        stop_tokens=list(cfg.student.stop_tokens),
        speed=instantiate(cfg.speed),
    )


def _scored(node: DictConfig) -> StoredScores | SeveralScores:
    """A teacher that was scored, or several."""
    settings = cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))
    given = settings["path"]
    folders = [
        Path(str(path)).expanduser() for path in (given if isinstance(given, list) else [given])
    ]
    if not folders:
        raise ValueError("teacher.scores.path is empty: expected a store's folder, or several.")
    # a run may be older than these settings
    weights, combine = settings.get("weights"), settings.get("combine", LOSSES)
    return scored(folders, weights, combine)


def stored_model(node: DictConfig) -> StoredModel:
    """A model of the configuration.

    Args:
        node: That of the student or the teacher.

    Returns:
        The model, not loaded yet.
    """
    return StoredModel(
        name=str(node.name),
        licence=node.licence,
        source=instantiate(node.source),
        dtype=node.dtype,
        attention=node.attention,
    )


def _embeddings(node: DictConfig) -> Callable[..., PreTrainedModel]:
    try:
        # a donor that is asked for and not named would be Hydra's own error
        OmegaConf.to_container(node, resolve=True)
    except InterpolationKeyError as error:
        raise ValueError(
            f"embeddings=omp needs a donor, a model that has the new tokenizer, and that of the "
            f"settings can't be found ({str(error).partition(chr(10))[0]}). Say where one is, as "
            "embeddings.initialisation.donor='${tokenizer.source.sources.hub.weights}' for "
            "tokenizer=qwen2 and gpt2, or embeddings.initialisation.donor='{_target_: "
            "alm_lightning.models.weights.sources.Folder, path: my-donor}'."
        ) from error
    return instantiate(node)


def data_plan(cfg: DictConfig) -> DataPlan:
    """How text becomes the batches of a run.

    Args:
        cfg: The whole configuration.

    Returns:
        The plan.
    """
    tokenizer, budget = cfg.tokenizer, cfg.budget
    workers = chosen_workers(
        cfg.num_workers,
        cfg.trainer.accelerator,
        is_stream=str(cfg.windows.dataset._target_).endswith("StreamedWindows"),
    )
    # windows=cached pairs with as many
    own = {"num_workers": workers} if "num_workers" in cfg.windows.dataset else {}
    return DataPlan(
        corpus=_corpus(cfg.corpus),
        other=_corpus(cfg.corpus_other),
        reading=instantiate(cfg.windows.documents),
        dataset=instantiate(cfg.windows.dataset, **own),
        on_bad=ON_BAD_DOCUMENT[cfg.on_bad_document](),
        alignment=instantiate(cfg.alignment),
        chat=instantiate(cfg.chat),
        # a student that keeps its tokenizer has no such setting
        has_own_specials="special_tokens" in tokenizer and tokenizer.special_tokens == REPLACE,
        packing=instantiate(cfg.packing),
        student_length=budget.student_length,
        teacher_length=budget.teacher_length,
        batch_size=budget.batch_size,
        micro_batch_size=budget.micro_batch_size,
        steps=budget.steps,
        evaluation_windows=budget.evaluation_windows,
        seed=cfg.seed,
        validate_during_fit=budget.validate_every is not None,
        num_workers=workers,
        pins_memory=uses_cuda(cfg.trainer.accelerator),
        # a run that is evaluated may be older than the setting
        cut_bytes=OmegaConf.select(cfg, "windows.cut_bytes"),
    )


def _corpus(node: DictConfig) -> Corpus:
    # first: `name` may refer to a path that is missing, and the error must name the path
    source = instantiate(node.source)
    # a run that is evaluated, or a corpus of the user's own, may be older than the setting
    split_by = {"split_by": node.split_by} if "split_by" in node else {}
    return Corpus(
        name=str(node.name),
        source=source,
        heldout_share=node.heldout_share,
        split_seed=node.split_seed,
        **split_by,
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
    precision = chosen_precision(cfg.trainer.precision, cfg.trainer.accelerator)
    if precision != cfg.trainer.precision:
        log.info("precision: %s, which is what this hardware multiplies quickly", precision)
    return instantiate(cfg.trainer, precision=precision, logger=loggers, callbacks=callbacks)
