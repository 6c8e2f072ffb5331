"""A training run of the command line: configuration in, exported model and summary out."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig
from rich.console import Console

from alm_lightning.app.hydra.overrides import task_overrides
from alm_lightning.app.hydra.processes import is_first_process
from alm_lightning.app.keys import keys_in_errors
from alm_lightning.app.log import log_samples
from alm_lightning.app.train.budgets import warn_of_other_numbers
from alm_lightning.app.train.build import plan_of
from alm_lightning.app.train.checks import check_settings
from alm_lightning.app.train.divergence import write_divergence
from alm_lightning.app.train.report import (
    results_table,
    show_sample,
    teachers_table,
    timing_line,
    write_summary,
)
from alm_lightning.app.train.results import recipe, sample_continuations
from alm_lightning.app.versions import versions
from alm_lightning.corpus.sources.source import AnyDocument
from alm_lightning.distillation.data import TRAINED
from alm_lightning.distillation.export import export_student
from alm_lightning.distillation.figures import Figures, summary_of
from alm_lightning.distillation.models import PairPlan
from alm_lightning.distillation.quiet import quiet_warnings
from alm_lightning.distillation.rows import TeacherRows
from alm_lightning.distillation.run import run
from alm_lightning.distillation.wandb_runs import failed_runs_ended
from alm_lightning.models.pair import Scorer
from alm_lightning.scores.ensemble import Teaching
from alm_lightning.training.diverged import Diverged

log = logging.getLogger(__name__)


@failed_runs_ended()
def train(cfg: DictConfig) -> dict:
    """Runs one experiment.

    Args:
        cfg: The composed configuration.

    Returns:
        What `summary.json` holds.

    Raises:
        Diverged: A gradient was not finite; the run's folder has a note of it.
    """
    quiet_warnings()
    folder = Path(cfg.paths.output_dir).absolute()
    with keys_in_errors():
        check_settings(cfg)
        warn_of_other_numbers(cfg)
        plan = plan_of(cfg)
        try:
            outcome = run(plan)
        except Diverged as error:
            if is_first_process():
                write_divergence(folder, error)
            raise
    summary = {
        "experiment": cfg.name,
        "overrides": task_overrides(),
        "seed": cfg.seed,
        **summary_of(outcome),
        "model_path": str(folder / "model"),
        "versions": versions(),
    }
    if outcome.trainer.is_global_zero:
        # the model first: nothing that follows may cost it
        rows = TeacherRows.of(plan.pair, outcome.student, outcome.teacher)
        _export(cfg, plan.pair, list(plan.objective), outcome.student, summary, rows)
        heldout = outcome.documents.evaluation[TRAINED]
        device = outcome.trainer.strategy.root_device
        summary["samples"] = _samples(cfg, outcome.student, outcome.teacher, heldout, device)
        log_samples(outcome.trainer.loggers, summary["samples"])
        _report(folder / "summary.json", summary, outcome.before, outcome.after)
    return summary


def _export(
    cfg: DictConfig,
    pair: PairPlan,
    terms: list[str],
    student: Scorer,
    summary: dict,
    teacher_rows: TeacherRows | None,
) -> None:
    try:
        export_student(
            student,
            Path(summary["model_path"]),
            base=pair.student,
            teacher=pair.teacher,
            terms=terms,
            recipe=recipe(cfg),
            summary=summary,
            dtype=cfg.export_dtype,
            teacher_rows=teacher_rows,
        )
    except Exception as error:
        # whatever went wrong, and even on a full disk: the figures of the run are worth a page
        lost = summary | {"samples": [], "model_path": None}
        write_summary(Path(cfg.paths.output_dir) / "summary.json", lost)
        log.error(
            "the export failed; summary.json has the figures. %s, and continue from the newest of "
            "the run's checkpoints with ckpt_path=: the export comes at its end.",
            "Free some space" if isinstance(error, OSError) else "Correct its cause",
        )
        raise


def _samples(
    cfg: DictConfig,
    student: Scorer,
    teacher: Teaching,
    documents: Sequence[AnyDocument],
    device: torch.device,
) -> list[dict[str, str]]:
    try:
        # Lightning leaves the student, which it owns, on the CPU
        student.to(teacher.model.device if isinstance(teacher, Scorer) else device)
        return sample_continuations(
            student, teacher, documents, num_prompts=cfg.sample_prompts, num_bytes=cfg.sample_bytes
        )
    except Exception:
        # samples are an extra: the figures are worth their page without them
        log.exception("no sample continuations, for the error below; the model was exported.")
        return []


def _report(path: Path, summary: dict, before: Figures, after: Figures) -> None:
    write_summary(path, summary)
    console = Console()
    console.print(results_table(before, after))
    beside = teachers_table(before, after)
    if beside is not None:
        console.print(beside)
    for sample in summary["samples"]:
        show_sample(console, sample)
    console.print(
        f"\n{timing_line(summary)}\nmodel    {summary['model_path']}\nsummary",
        highlight=False,
        soft_wrap=True,
    )
    # the last line is for programs: nothing but the path
    sys.stdout.write(f"{path}\n")
    sys.stdout.flush()
