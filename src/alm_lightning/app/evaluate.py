"""The whole of an evaluation: find the models, read the data, score, write down, show."""

import functools
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning as L
from omegaconf import DictConfig
from rich.console import Console

from alm_lightning.app.evaluate_build import (
    FIT,
    build_harnesses,
    check_ensemble,
    combined,
    harness_settings,
)
from alm_lightning.app.evaluate_models import (
    Entry,
    find_model,
    load_subject,
    members_of,
    plain,
    with_unique_names,
)
from alm_lightning.app.evaluate_progress import told_progress
from alm_lightning.app.evaluate_table import group_tables, main_table, write_tables
from alm_lightning.app.log import quiet_warnings
from alm_lightning.app.versions import versions
from alm_lightning.evaluation.harness import Harness
from alm_lightning.evaluation.report.page import write_report
from alm_lightning.evaluation.store import Store
from alm_lightning.evaluation.subject import Subject
from alm_lightning.models.loading import torch_dtype

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Planned:
    """A model, or an ensemble, that is to be evaluated.

    Attributes:
        name: What tables and folders call it.
        identity: What tells it from any other, as JSON has it.
        load: Loads it.
        run: The folder of the run that made it, if it is a student.
    """

    name: str
    identity: Mapping[str, object]
    load: Callable[[], Subject]
    run: Path | None = None


def evaluate(cfg: DictConfig, models: Path) -> list[dict[str, object]]:
    """Evaluates one model, several, or an ensemble, under one harness or several.

    Args:
        cfg: The composed configuration.
        models: The folder of files that name models: conf/student.

    Returns:
        What the result files hold: one for each model under each harness.
    """
    quiet_warnings()
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    # what is wrong with names, settings or data is told before a model is loaded
    planned = _planned(cfg, models)
    harnesses = build_harnesses(cfg, models)
    keys = {name: list(harness.prepare()) for name, harness in harnesses.items()}
    folder = Path(cfg.paths.output_dir)
    results = []
    for plan in planned:
        results += _evaluate_one(cfg, plan, harnesses, keys, models)
    path = write_tables(folder, results)
    console = Console()
    for table in (*group_tables(results), main_table(results)):
        console.print(table)
    if cfg.report:
        runs = [plan.run for plan in planned if plan.run is not None]
        console.print(f"report   {_report(folder, runs[0] if runs else None)}", soft_wrap=True)
    # the last line is for programs: nothing but the path
    sys.stdout.write(f"{path}\n")
    sys.stdout.flush()
    return results


def _report(folder: Path, run: Path | None) -> Path:
    path = folder / "report.html"
    partial = folder / ".report.partial.html"
    partial.unlink(missing_ok=True)
    write_report(partial, evaluation=folder, run=run)
    # in place of that of an earlier call, as the tables: all of it is made of what the folder holds
    return partial.replace(path)


def _planned(cfg: DictConfig, models: Path) -> list[Planned]:
    found = [find_model(text, models) for text in members_of(cfg.model)]
    entries = with_unique_names(found, cfg.names)
    alone = [
        Planned(
            entry.name,
            {**entry.identity(), "dtype": str(torch_dtype(cfg.dtype))},
            functools.partial(load_subject, entry, cfg.dtype, cfg.device),
            entry.run,
        )
        for entry in entries
    ]
    if cfg.model.kind is None:
        return alone
    together = _ensembles(cfg, entries)
    return alone + together if cfg.model.alone else together


def _ensembles(cfg: DictConfig, entries: Sequence[Entry]) -> list[Planned]:
    ways = [cfg.model.combine] if isinstance(cfg.model.combine, str) else list(cfg.model.combine)
    # before the members are evaluated, which may take hours
    check_ensemble(ways, plain(cfg.model)["weights"], len(entries))
    found = []
    for way in ways:
        identity = {
            "members": [entry.identity() for entry in entries],
            "combine": way,
            "weights": plain(cfg.model)["weights"],
            "dtype": str(torch_dtype(cfg.dtype)),
        }
        if cfg.model.weights == FIT:
            identity["fit"] = [plain(cfg.corpus_fit), cfg.model.fit_documents]
        load = functools.partial(_load_ensemble, cfg, entries, way)
        fitted = "-fitted" if cfg.model.weights == FIT else ""
        found.append(Planned(f"ensemble-{way}{fitted}", identity, load))
    return found


def _load_ensemble(cfg: DictConfig, entries: Sequence[Entry], way: str) -> Subject:
    return combined(cfg, [load_subject(entry, cfg.dtype, cfg.device) for entry in entries], way)


def _evaluate_one(
    cfg: DictConfig,
    plan: Planned,
    harnesses: Mapping[str, Harness],
    keys: Mapping[str, Sequence[str]],
    models: Path,
) -> list[dict[str, object]]:
    folder, given = Path(cfg.paths.output_dir), harness_settings(cfg, models)
    stores = {
        name: Store(
            folder / plan.name / name,
            {"model": plan.identity, "harness": given[name], "seed": cfg.seed},
        )
        for name in harnesses
    }
    missing = {name: store.missing(keys[name]) for name, store in stores.items()}
    subject = plan.load() if any(missing.values()) else None
    if subject is None:
        log.info("%s: everything was scored by an earlier call", plan.name)
    results = []
    for name, harness in harnesses.items():
        store, todo, started = stores[name], missing[name], time.perf_counter()
        if todo:
            made = store.add(harness, subject, todo)
            if not getattr(harness, "writes_itself", False):
                done = len(keys[name]) - len(todo)
                made = told_progress(made, f"{plan.name} {name}", len(keys[name]), done)
            for _ in made:
                pass
        about = {
            "model": plan.name,
            "harness": name,
            "described": plan.identity.get("source", "ensemble"),
            "seed": cfg.seed,
            # of this call; 0 where an earlier one did the work
            "seconds": time.perf_counter() - started if todo else 0.0,
            "versions": versions(),
        }
        results.append(store.finish(harness, keys[name], about))
    return results
