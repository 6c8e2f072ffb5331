"""From a configuration to harnesses, and from members to an ensemble."""

import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from alm_lightning.app.evaluate_models import find_model, load_subject
from alm_lightning.evaluation.ensemble_members import check_same_tokenizer, ensemble_subject
from alm_lightning.evaluation.ensemble_weights import fitted_weights
from alm_lightning.evaluation.harness import Harness
from alm_lightning.evaluation.scoring import Row, score_rows
from alm_lightning.evaluation.subject import Subject
from alm_lightning.evaluation.texts import keyed_documents

log = logging.getLogger(__name__)
FIT = "fit"


def build_harnesses(cfg: DictConfig, models: Path) -> dict[str, Harness]:
    """The suites of measurements, in the order of the configuration.

    Args:
        cfg: The whole configuration.
        models: The folder of files that name models.

    Returns:
        Harnesses by name.
    """
    built = {}
    for name, node in cfg.harness.items():
        # a value that is still to be given counts as absent for `in node`, but has its key
        if "teacher" in set(node):
            # found now, so that a wrong name is told at once; loaded when it is needed
            load = _teacher(cfg, node, models)
            built[name] = instantiate(node)(load_teacher=load)
        else:
            built[name] = instantiate(node)
    return built


def _teacher(cfg: DictConfig, node: DictConfig, models: Path) -> Callable[[], Subject]:
    if OmegaConf.is_missing(node, "teacher") or node.teacher is None:
        raise ValueError(
            "harness=compare needs a teacher to compare with: say harness.compare.teacher="
            "gemma3_270m, or a folder, or a hub id."
        )
    return functools.partial(load_subject, find_model(node.teacher, models), cfg.dtype, cfg.device)


def combined(cfg: DictConfig, members: Sequence[Subject], way: str) -> Subject:
    """An ensemble.

    Args:
        cfg: The whole configuration.
        members: Its members.
        way: How their probabilities are combined.

    Returns:
        The ensemble, with equal weights, those of the configuration, or fitted ones.
    """
    check_same_tokenizer(members)
    given = cfg.model.weights
    fitted = "-fitted" if given == FIT else ""
    weights = None if given is None else _fit(cfg, members, way) if given == FIT else list(given)
    return ensemble_subject(members, way, weights, f"ensemble-{way}{fitted}")


def _fit(cfg: DictConfig, members: Sequence[Subject], way: str) -> list[float]:
    documents = keyed_documents(
        instantiate(cfg.corpus_fit.source), max_documents=cfg.model.fit_documents
    )
    view = members[0].view
    limit = min(member.context_length for member in members)
    rows = []
    for document in documents.values():
        ids = np.concatenate([[view.start_id], view.encode(document.text).ids])[:limit]
        rows += [Row(ids)] if len(ids) > 1 else []
    found = []
    for member in members:
        scores = dict(score_rows(member, rows))
        found.append(np.concatenate([scores[index] for index in range(len(rows))]))
    weights = fitted_weights(torch.from_numpy(np.stack(found)), way)
    log.info(
        "weights fitted on %d documents, %s tokens: %s",
        len(rows),
        f"{len(found[0]):,}",
        ", ".join(f"{m.name} {w:.3f}" for m, w in zip(members, weights.tolist(), strict=True)),
    )
    return weights.tolist()
