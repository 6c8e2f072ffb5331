"""The whole of an evaluation: find the models, read the data, score, write down, show."""

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning as L
from omegaconf import DictConfig
from rich.console import Console

from alm_lightning.app.evaluate.build import build_harnesses, harness_settings, teachers
from alm_lightning.app.evaluate.checks import check_models
from alm_lightning.app.evaluate.fit import refuse_same_text
from alm_lightning.app.evaluate.plan import Alone, Planned, Together, planned
from alm_lightning.app.evaluate.table import group_tables, main_table, told_ensembles, write_tables
from alm_lightning.app.versions import versions
from alm_lightning.distillation.quiet import quiet_warnings
from alm_lightning.evaluation.harness import Harness, HasBasis
from alm_lightning.evaluation.report.page import write_report
from alm_lightning.evaluation.store import Store
from alm_lightning.show.progress import with_progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """A model, or an ensemble, under all harnesses.

    Attributes:
        plan: What is to be evaluated.
        stores: Its folders, by harness.
        missing: Keys of the items without a record, by harness.
    """

    plan: Planned
    stores: Mapping[str, Store]
    missing: Mapping[str, Sequence[str]]


def evaluate(cfg: DictConfig, models: Path) -> list[dict[str, object]]:
    """Evaluates one model, several, or an ensemble, under one harness or several.

    Args:
        cfg: The composed configuration.
        models: The folder of files that name models: conf/model.

    Returns:
        What the result files hold: one for each model under each harness.
    """
    quiet_warnings()
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    # what is wrong with names, settings or data is told before a model is loaded
    plans = planned(cfg, models)
    harnesses = build_harnesses(cfg, models)
    keys = {name: list(harness.prepare()) for name, harness in harnesses.items()}
    for plan in plans:
        if isinstance(plan, Together) and plan.text is not None:
            refuse_same_text(plan.text, harnesses)
    works = _works(cfg, plans, harnesses, keys, models)
    _check(cfg, works, models)
    folder = Path(cfg.paths.output_dir)
    results = []
    for work in works:
        results += _evaluate_one(cfg, work, harnesses, keys)
    path = write_tables(folder, results)
    console = Console()
    for table in (*group_tables(results), main_table(results)):
        console.print(table)
    for line in told_ensembles(results):
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    if cfg.report:
        runs = [plan.run for plan in plans if plan.run is not None]
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


def _works(
    cfg: DictConfig,
    plans: Sequence[Planned],
    harnesses: Mapping[str, Harness],
    keys: Mapping[str, Sequence[str]],
    models: Path,
) -> list[Work]:
    folder, given = Path(cfg.paths.output_dir), harness_settings(cfg, models)
    works = []
    for plan in plans:
        stores = {}
        for name, harness in harnesses.items():
            settings = {"model": plan.identity(), "harness": given[name], "seed": cfg.seed}
            if isinstance(harness, HasBasis):
                settings["basis"] = harness.basis(plan.name, plan.run)
            stores[name] = Store(folder / plan.name / name, settings)
        missing = {name: store.missing(keys[name]) for name, store in stores.items()}
        works.append(Work(plan, stores, missing))
    return works


def _check(cfg: DictConfig, works: Sequence[Work], models: Path) -> None:
    """Checks what is to be loaded; a single model is checked by being loaded."""
    plans = [work.plan for work in works if any(work.missing.values())]
    alone = [plan.entries[0] for plan in plans if isinstance(plan, Alone)]
    together = [plan.entries for plan in plans if isinstance(plan, Together)]
    needed = {name for work in works for name, missing in work.missing.items() if missing}
    teaching = [entry for name, entry in teachers(cfg, models).items() if name in needed]
    if together or len(alone) + len(teaching) > 1:
        check_models([*alone, *teaching], together)


def _evaluate_one(
    cfg: DictConfig,
    work: Work,
    harnesses: Mapping[str, Harness],
    keys: Mapping[str, Sequence[str]],
) -> list[dict[str, object]]:
    plan = work.plan
    evaluated = plan.load() if any(work.missing.values()) else None
    if evaluated is None:
        log.info("%s: everything was scored by an earlier call", plan.name)
    described = plan.about()
    results = []
    for name, harness in harnesses.items():
        store, todo, started = work.stores[name], work.missing[name], time.perf_counter()
        if todo:
            made = store.add(harness, evaluated, todo)
            if not getattr(harness, "writes_itself", False):
                done = len(keys[name]) - len(todo)
                made = with_progress(made, f"{plan.name} {name}", len(keys[name]), done)
            for _ in made:
                pass
        about = {
            "model": plan.name,
            "harness": name,
            **described,
            "seed": cfg.seed,
            # of this call; 0 where an earlier one did the work
            "seconds": time.perf_counter() - started if todo else 0.0,
            "versions": versions(),
        }
        results.append(store.finish(harness, keys[name], about))
    return results
