"""A teacher's scores of a corpus on the command line: configuration in, a store out."""

import logging
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from alm_lightning.app.keys import keys_in_errors
from alm_lightning.app.train.build import SCORES, SERVER, data_plan, stored_model
from alm_lightning.app.versions import versions
from alm_lightning.distillation.checks import check_accelerator, check_trainer
from alm_lightning.distillation.data import ON_BAD_DOCUMENT
from alm_lightning.distillation.quiet import quiet_warnings
from alm_lightning.distillation.scoring import Scoring, ServedTeacher, score
from alm_lightning.objectives.objective import Objective
from alm_lightning.scores.kinds import ALM, HIDDEN, NEXT_BYTE, Kinds
from alm_lightning.scores.writing import Part

log = logging.getLogger(__name__)

HTTP_CLIENTS = ("httpx", "httpx2")
"""Loggers that say a line for each of thousands of requests; `openai` tells of those sent again."""


def score_corpus(cfg: DictConfig) -> None:
    """Scores a corpus with a teacher.

    Args:
        cfg: The composed configuration: that of train.yaml, and `scores`.

    Raises:
        ValueError: A setting is not what is expected.
    """
    quiet_warnings()
    quiet_requests()
    with keys_in_errors():
        scoring = scoring_of(cfg)
        manifest = score(scoring)
    if manifest is None:
        return
    size = sum(size for size, _ in manifest.shards.values())
    log.info(
        "%s sequences, %s tokens, %s bytes of text; %.1f MB, %.2f bytes a byte of text. Train with "
        "teacher=scores teacher.scores.path=%s and the same corpus, chat and windows.cut_bytes",
        f"{manifest.sequences:,}",
        f"{manifest.tokens:,}",
        f"{manifest.text_bytes:,}",
        size / 1e6,
        size / max(manifest.text_bytes, 1),
        scoring.folder,
    )


def quiet_requests() -> None:
    """Hides the line that is logged for each request to a server."""
    for name in HTTP_CLIENTS:
        logging.getLogger(name).setLevel(logging.WARNING)


def scoring_of(cfg: DictConfig) -> Scoring:
    """What a store is made of; nothing large is read.

    Args:
        cfg: The composed configuration.

    Returns:
        The settings, checked.

    Raises:
        ValueError: A setting is not what is expected.
    """
    if SCORES in cfg.teacher:
        raise ValueError(
            "teacher=scores is a store already: give the model that is to say what is stored, as "
            "teacher=same or teacher=gemma3_270m."
        )
    if cfg.on_bad_document not in ON_BAD_DOCUMENT:
        raise ValueError(
            f"on_bad_document is {cfg.on_bad_document!r}: expected one of "
            f"{', '.join(ON_BAD_DOCUMENT)}."
        )
    check_trainer(cfg.trainer.precision, "auto")
    if SERVER not in cfg.teacher:
        check_accelerator(cfg.trainer.accelerator)
    settings = cfg.scores
    return Scoring(
        folder=Path(settings.path).expanduser(),
        teacher=_served(cfg.teacher) if SERVER in cfg.teacher else stored_model(cfg.teacher),
        data=data_plan(cfg),
        kinds=_kinds(cfg),
        most_documents=settings.documents,
        batch_tokens=settings.batch_tokens,
        part=Part.of(settings.part),
        precision=cfg.trainer.precision,
        accelerator=cfg.trainer.accelerator,
        versions=versions(),
    )


def _served(node: DictConfig) -> ServedTeacher:
    return ServedTeacher(
        name=str(node.name),
        licence=node.licence,
        tokenizer=node.tokenizer,
        settings=instantiate(node.server),
    )


def _kinds(cfg: DictConfig) -> Kinds:
    settings = cfg.scores
    kinds = settings.kinds
    whole = []
    if isinstance(kinds, str):
        if kinds != "auto":
            raise ValueError(
                f"scores.kinds is {kinds!r}: expected auto, or a list such as [{kinds}]."
            )
        nodes = {name: term for name, term in cfg.objective.items() if term is not None}
        terms = {name: instantiate(term) for name, term in nodes.items()}
        kinds = sorted({kind for term in terms.values() for kind in _read_by(term)})
        log.info("scores.kinds=%s, which this objective reads", [ALM, *kinds])
        whole = [name for name, term in terms.items() if term.needs_all_masses]
    stored = Kinds(
        kinds=tuple(kinds),
        top=settings.top,
        dtype=settings.dtype,
        least_share=float(settings.least_share),
    )
    if whole and NEXT_BYTE in stored and not stored.has_all_masses:
        raise ValueError(
            f"objective.{whole[0]} reads the teacher's least masses as well, and scores.dtype="
            f"{stored.dtype} scores.least_share={stored.least_share} would not keep them. Give "
            f"scores.least_share=0 scores.dtype=float32, or objective.{whole[0]}.divergence=kl."
        )
    return stored


def _read_by(term: Objective) -> set[str]:
    """Kinds that a term reads, the nearest to the teacher itself."""
    if not term.needs_teacher:
        return set()
    found = {HIDDEN} if term.needs_hidden else set()
    if term.needs_distributions:
        if not term.distribution_kinds:
            raise ValueError(
                f"{type(term).__name__} reads more of the teacher than a store can hold. Take "
                "another objective, or give scores.kinds."
            )
        found.add(term.distribution_kinds[0])
    return found
