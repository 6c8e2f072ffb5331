"""From a configuration to models, objective and trainer."""

import logging

import lightning as L
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from transformers import PreTrainedModel

from alm_lightning.alignment.cover import uncovered
from alm_lightning.likelihood.hardware import multiplies_bfloat16
from alm_lightning.models.loading import check_pair, load_causal_lm, load_hf_tokenizer, torch_dtype
from alm_lightning.models.pair import Scorer
from alm_lightning.objectives.objective import Objective
from alm_lightning.tokenization.fast import view_of
from alm_lightning.tokenization.specials.roles import stop_ids
from alm_lightning.training.module import DistillModule

log = logging.getLogger(__name__)

LOADED = ("source", "dtype", "attention")
"""Settings of a student and a teacher that are one model, loaded once, where these are equal."""


def build_scorers(cfg: DictConfig) -> tuple[Scorer, Scorer]:
    """Loads the teacher, and makes the student from the model that it starts as.

    Args:
        cfg: The whole configuration.

    Returns:
        Student and teacher.

    Raises:
        ValueError: If the student is to share the body of a teacher that is another model.
    """
    different = [key for key in LOADED if cfg.student[key] != cfg.teacher[key]]
    adapter = instantiate(cfg.adapter)
    if adapter.share_body and different:
        raise ValueError(
            f"adapter.share_body=true, but the student starts as another model than the teacher: "
            f"their {' and '.join(different)} differ. Take adapter.share_body=false, or "
            "teacher=same."
        )
    device = cfg.trainer.accelerator
    teacher = load_scorer(cfg.teacher, "teacher", device)
    base = load_scorer(cfg.student, "student", device) if different else teacher
    view = instantiate(cfg.tokenizer)(base.view)
    model: PreTrainedModel = instantiate(cfg.embeddings)(
        base.model, old=base.view, new=view, share_body=adapter.share_body
    )
    adapter.adapt(model)
    stops = stop_ids(base.view, view, cfg.student.stop_tokens)
    model.generation_config.eos_token_id = [view.id_of("eos"), *stops]
    log.info(
        "student: %s with tokenizer %s, %s trained of %s parameters, %s",
        cfg.student.name,
        view.name,
        f"{sum(p.numel() for p in model.parameters() if p.requires_grad):,}",
        f"{sum(p.numel() for p in model.parameters()):,}",
        "its body shared with the teacher" if adapter.share_body else "nothing shared",
    )
    lost = uncovered(view, teacher.view)
    if lost:
        log.warning(
            "tokenizers %s and %s have no chunk for parts of texts like these, which are not "
            "learned from. python -m alm_lightning.inspect shows where and why:\n  %s",
            view.name,
            teacher.view.name,
            "\n  ".join(lost),
        )
    return Scorer(model, view, "student"), teacher


def load_scorer(node: DictConfig, side: str, device: str) -> Scorer:
    """Loads one model and its tokenizer.

    Args:
        node: `source`, `name` and `dtype` of a model.
        side: ``student`` or ``teacher``.
        device: Where it will compute, which chooses the type of ``dtype: auto``; it is loaded onto
            the processor.

    Returns:
        The scorer.
    """
    source = instantiate(node.source)
    log.info("%s: %s", side, source.describe())
    view = view_of(load_hf_tokenizer(source), name=node.name)
    model = load_causal_lm(
        source, dtype=torch_dtype(node.dtype, device), attn_implementation=node.attention
    )
    check_pair(model, view.num_tokens, node.name)
    return Scorer(model, view, side)


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


def precision_of(cfg: DictConfig) -> str:
    """What a run computes in, on this hardware.

    Args:
        cfg: The whole configuration.

    Returns:
        A precision of Lightning's: ``auto`` is what is multiplied quickly.
    """
    if cfg.trainer.precision != "auto":
        return str(cfg.trainer.precision)
    return "bf16-mixed" if multiplies_bfloat16(cfg.trainer.accelerator) else "32-true"


def build_trainer(cfg: DictConfig) -> L.Trainer:
    """Lightning's trainer, with callbacks and loggers.

    Args:
        cfg: The whole configuration.

    Returns:
        The trainer.
    """
    loggers = [instantiate(node) for node in cfg.logger.values() if node is not None]
    callbacks = [instantiate(node) for node in cfg.callbacks.values() if node is not None]
    precision = precision_of(cfg)
    if precision != cfg.trainer.precision:
        log.info("precision: %s, which is what this hardware multiplies quickly", precision)
    return instantiate(cfg.trainer, precision=precision, logger=loggers, callbacks=callbacks)
