"""The whole of a training run: build, measure, train, measure again, export, report."""

import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import lightning as L
from omegaconf import DictConfig
from rich.console import Console

from alm_lightning.app.log import log_hyperparameters, log_samples, quiet_warnings
from alm_lightning.app.train.build import (
    build_module,
    build_objective,
    build_scorers,
    build_trainer,
)
from alm_lightning.app.train.checks import check_settings, check_teacher
from alm_lightning.app.train.data import build_corpora, build_data
from alm_lightning.app.train.report import (
    Figures,
    figures_by_set,
    make_summary,
    results_table,
    show_sample,
    timing_line,
    write_summary,
)
from alm_lightning.app.train.results import export_student, sample_continuations
from alm_lightning.corpus.sources.source import AnyDocument
from alm_lightning.models.pair import Scorer
from alm_lightning.training.callbacks import SaveWhenStopped

log = logging.getLogger(__name__)
EXIT_CODES = {"SIGTERM": 143, "SIGINT": 130}
"""What a shell expects of a program that a signal ended: 128 and the signal's number."""


def train(cfg: DictConfig) -> dict:
    """Runs one experiment.

    Args:
        cfg: The composed configuration.

    Returns:
        What `summary.json` holds.

    Raises:
        SystemExit: If a signal asked the run to stop; a checkpoint was saved before.
    """
    started = time.perf_counter()
    quiet_warnings()
    # configuration that is wrong is told before anything large is read
    check_settings(cfg)
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    objective = build_objective(cfg)
    corpora = build_corpora(cfg)
    student, teacher = build_scorers(cfg)
    data = build_data(cfg, corpora, student, teacher)
    module = build_module(cfg, student, teacher, objective)
    trainer = build_trainer(cfg)
    data.check_processes(trainer.world_size)
    log_hyperparameters(trainer.loggers, module.config)

    before = _evaluate(trainer, module, data)
    check_teacher(before, cfg.teacher.name, teacher.view.num_tokens)
    trainer.fit(module, datamodule=data, ckpt_path=cfg.ckpt_path)
    _leave_if_stopped(trainer)
    after = _evaluate(trainer, module, data)

    summary = make_summary(cfg, trainer, data, before, after, started)
    if trainer.is_global_zero:
        # the model first: nothing that follows may cost it
        _export(cfg, student, summary | {"samples": []})
        summary["samples"] = _samples(cfg, student, teacher, corpora.heldout)
        log_samples(trainer.loggers, summary["samples"])
        _report(Path(cfg.paths.output_dir), summary, before, after)
    return summary


def _evaluate(trainer: L.Trainer, module: L.LightningModule, data) -> Figures:
    trainer.validate(module, datamodule=data, verbose=False)
    # callback_metrics holds exact values by name; what validate returns is split by loader
    return figures_by_set(trainer.callback_metrics, data.evaluation_names)


def _export(cfg: DictConfig, student: Scorer, summary: dict) -> None:
    try:
        export_student(cfg, student, summary)
    except OSError:
        # a full disk may still take a page: the figures of the run are worth it
        lost = summary | {"model_path": None}
        write_summary(Path(cfg.paths.output_dir) / "summary.json", lost)
        log.error(
            "the export failed; summary.json has the figures. Make room, and continue from the "
            "newest of the run's checkpoints with ckpt_path=: the export comes at the end of that."
        )
        raise


def _samples(
    cfg: DictConfig, student: Scorer, teacher: Scorer, documents: Sequence[AnyDocument]
) -> list[dict[str, str]]:
    try:
        # Lightning leaves the student, which it owns, on the CPU
        student.to(teacher.model.device)
        return sample_continuations(cfg, student, teacher, documents)
    except Exception:
        # samples are an extra: the figures are worth their page without them
        log.exception("no sample continuations, for the error below; the model was exported.")
        return []


def _leave_if_stopped(trainer: L.Trainer) -> None:
    for callback in trainer.callbacks:
        if isinstance(callback, SaveWhenStopped) and callback.stopped_by is not None:
            log.warning(
                "stopped by %s after step %d of %d. Continue with ckpt_path=%s",
                callback.stopped_by,
                trainer.global_step,
                trainer.max_steps,
                callback.path,
            )
            sys.exit(EXIT_CODES.get(callback.stopped_by, 1))


def _report(output_dir: Path, summary: dict, before: Figures, after: Figures) -> None:
    path = output_dir / "summary.json"
    write_summary(path, summary)
    console = Console()
    console.print(results_table(before, after))
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
