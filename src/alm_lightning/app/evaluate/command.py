"""A whole evaluation: find the models, read the data, score, store, show."""

import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning as L
from omegaconf import DictConfig
from rich.console import Console

from alm_lightning.app.evaluate.fit import refuse_same_text
from alm_lightning.app.evaluate.models import check_models
from alm_lightning.app.evaluate.plan import EnsemblePlan, EvaluationPlan, ModelPlan, make_plan
from alm_lightning.app.evaluate.table import (
    ensemble_lines,
    group_tables,
    main_table,
    write_tables,
)
from alm_lightning.app.versions import versions
from alm_lightning.distillation.quiet import quiet_warnings
from alm_lightning.evaluation.harness import HasBasis
from alm_lightning.evaluation.report.page import write_report
from alm_lightning.evaluation.store import Store
from alm_lightning.show.progress import with_progress

log = logging.getLogger(__name__)
Keys = Mapping[str, Sequence[str]]
"""Keys of items, by harness."""


@dataclass(frozen=True)
class Work:
    """A model, or an ensemble, under all harnesses.

    Attributes:
        model: What is evaluated.
        stores: Its folders, by harness.
        missing: Keys of the items without a record.
    """

    model: ModelPlan | EnsemblePlan
    stores: Mapping[str, Store]
    missing: Keys


def evaluate(cfg: DictConfig, models: Path) -> list[dict[str, object]]:
    """Evaluates one model, several, or an ensemble, under one harness or several.

    Args:
        cfg: The composed configuration.
        models: The folder of files that name models: conf/model.

    Returns:
        The content of the result files: one for each model under each harness.
    """
    quiet_warnings()
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    # errors in names, settings or data come before a model is loaded
    plan = make_plan(cfg, models)
    keys = {name: list(each.harness.prepare()) for name, each in plan.harnesses.items()}
    harnesses = {name: each.harness for name, each in plan.harnesses.items()}
    for model in plan.models:
        if isinstance(model, EnsemblePlan) and model.text is not None:
            refuse_same_text(model.text, harnesses)
    works = [_work(plan, model, keys) for model in plan.models]
    _check(plan, works)
    results = [result for work in works for result in _results(plan, work, keys)]
    path = write_tables(plan.folder, results)
    console = Console()
    for table in (*group_tables(results), main_table(results)):
        console.print(table)
    for line in ensemble_lines(results):
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    if plan.report:
        console.print(f"report   {_write_report(plan)}", soft_wrap=True)
    # the last line is for programs: nothing but the path
    sys.stdout.write(f"{path}\n")
    sys.stdout.flush()
    return results


def _write_report(plan: EvaluationPlan) -> Path:
    runs = [model.run for model in plan.models if model.run is not None]
    path, partial = plan.folder / "report.html", plan.folder / ".report.partial.html"
    partial.unlink(missing_ok=True)
    write_report(partial, evaluation=plan.folder, run=runs[0] if runs else None)
    # replaces that of an earlier call, as the tables do: the folder holds all that is in it
    return partial.replace(path)


def _work(plan: EvaluationPlan, model: ModelPlan | EnsemblePlan, keys: Keys) -> Work:
    stores = {}
    for name, each in plan.harnesses.items():
        settings = {"model": model.identity(), "harness": each.settings, "seed": plan.seed}
        if isinstance(each.harness, HasBasis):
            settings["basis"] = each.harness.basis(model.name, model.run)
        stores[name] = Store(plan.folder / model.name / name, settings)
    missing = {name: store.missing(keys[name]) for name, store in stores.items()}
    return Work(model, stores, missing)


def _check(plan: EvaluationPlan, works: Sequence[Work]) -> None:
    """Checks what is to be loaded; a single model is checked by being loaded."""
    models = [work.model for work in works if any(work.missing.values())]
    single = [model.entry for model in models if isinstance(model, ModelPlan)]
    ensembles = [model.members for model in models if isinstance(model, EnsemblePlan)]
    needed = {name for work in works for name, missing in work.missing.items() if missing}
    partners = [plan.harnesses[name].partner for name in plan.harnesses if name in needed]
    single += [partner for partner in partners if partner is not None]
    if ensembles or len(single) > 1:
        check_models(single, ensembles)


def _results(plan: EvaluationPlan, work: Work, keys: Keys) -> Iterator[dict[str, object]]:
    model = work.model
    evaluated = model.load() if any(work.missing.values()) else None
    if evaluated is None:
        log.info("%s: everything was scored by an earlier call", model.name)
    description = model.description()
    for name, each in plan.harnesses.items():
        harness, store, missing = each.harness, work.stores[name], work.missing[name]
        started = time.perf_counter()
        if missing:
            records = store.add(harness, evaluated, missing)
            if not getattr(harness, "writes_itself", False):
                total = len(keys[name])
                title = f"{model.name} {name}"
                records = with_progress(records, title, total, total - len(missing))
            for _ in records:
                pass
        about = {
            "model": model.name,
            "harness": name,
            **description,
            "seed": plan.seed,
            # of this call; 0 where an earlier one did the work
            "seconds": time.perf_counter() - started if missing else 0.0,
            "versions": versions(),
        }
        yield store.finish(harness, keys[name], about)
