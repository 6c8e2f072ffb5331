"""From a configuration to harnesses, and from members to an ensemble."""

import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from alm_lightning.app.evaluate_models import find_model, load_subject, plain
from alm_lightning.evaluation.ensemble_members import check_same_tokenizer, ensemble_subject
from alm_lightning.evaluation.ensemble_mixture import COMBINES, MEAN_PROB, checked_weights
from alm_lightning.evaluation.ensemble_weights import fitted_weights
from alm_lightning.evaluation.harness import Harness
from alm_lightning.evaluation.scoring import Row, score_rows
from alm_lightning.evaluation.subject import Subject
from alm_lightning.evaluation.texts import keyed_documents
from alm_lightning.models.loading import torch_dtype

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


def harness_settings(cfg: DictConfig, models: Path) -> dict[str, object]:
    """What the records of each harness depend on: its settings, and the teacher that they name.

    Args:
        cfg: The whole configuration.
        models: The folder of files that name models.

    Returns:
        Plain values by harness.
    """
    settings = plain(cfg.harness)
    for node in settings.values():
        if "teacher" in node:
            identity = find_model(node["teacher"], models).identity()
            node["teacher"] = {**identity, "dtype": str(torch_dtype(cfg.dtype))}
    return settings


def check_ensemble(ways: Sequence[str], weights: object, num_members: int) -> None:
    """Refuses an ensemble that could not be made.

    Args:
        ways: How probabilities are to be combined.
        weights: None, ``fit``, or one a member.
        num_members: Number of members.

    Raises:
        ValueError: A way is none, weights do not fit the members, or can't be fitted.
    """
    unknown = [way for way in ways if way not in COMBINES]
    if unknown:
        raise ValueError(
            f"model.combine has {unknown}: expected one or several of {', '.join(COMBINES)}."
        )
    if weights == FIT and set(ways) != {MEAN_PROB}:
        raise ValueError(
            f"model.weights={FIT} is for model.combine={MEAN_PROB} alone, and combine is "
            f"{list(ways)}. Evaluate the others in a call of their own, with weights or without."
        )
    if weights != FIT:
        checked_weights(weights, num_members)


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
