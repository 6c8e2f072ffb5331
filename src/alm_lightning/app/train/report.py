"""What a run leaves behind: the table on the screen, the samples, the summary file."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

import lightning as L
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from alm_lightning.app.hydra.overrides import task_overrides
from alm_lightning.app.versions import versions
from alm_lightning.data.datamodule import DistillDataModule
from alm_lightning.data.windows import DATA_REASONS
from alm_lightning.metrics.gap import gap_closed
from alm_lightning.training.callbacks import Speed, peak_memory_bytes

Figures = Mapping[str, Mapping[str, float]]


def figures_by_set(
    metrics: Mapping[str, float | Tensor], names: list[str]
) -> dict[str, dict[str, float]]:
    """Figures of a validation, by evaluation set.

    Args:
        metrics: As Lightning returns them, named ``val/<set>/<figure>``; with several loaders
            Lightning may append ``/dataloader_idx_<n>``.
        names: Names of the evaluation sets.

    Returns:
        From set to figure to value.
    """
    figures = {name: {} for name in names}
    for key, value in metrics.items():
        stage, name, figure = key.split("/")[:3]
        if stage == "val":
            figures[name][figure] = float(value)
    return figures


def results_table(before: Figures, after: Figures) -> Table:
    """The table that ends a run.

    Args:
        before: Figures before training, by evaluation set.
        after: The same after training.

    Returns:
        A table for the terminal.
    """
    table = Table(title="Held-out text", title_justify="left")
    table.add_column("")
    for name in after:
        table.add_column(
            {"heldout": "training domain", "other": "other domain"}.get(name, name), justify="right"
        )
    rows = {
        "bits per byte: teacher": [after[n]["bits_per_byte_teacher"] for n in after],
        "bits per byte: student before": [before[n]["bits_per_byte_student"] for n in after],
        "bits per byte: student after": [after[n]["bits_per_byte_student"] for n in after],
        "share of the gap closed": [
            gaps_closed(before[n], after[n])["bits_per_byte"] for n in after
        ],
        "|log p_T - log p_S| per chunk before (nats)": [
            before[n]["chunk_difference"] for n in after
        ],
        "|log p_T - log p_S| per chunk after (nats)": [after[n]["chunk_difference"] for n in after],
        "mean chunk length (bytes)": [after[n]["bytes_per_chunk"] for n in after],
    }
    for label, values in rows.items():
        table.add_row(label, *("-" if value is None else f"{value:.3f}" for value in values))
    table.add_row("share of bytes in chunks", *(f"{after[name]['coverage']:.1%}" for name in after))
    table.add_row("bytes evaluated", *(f"{after[name]['bytes']:,.0f}" for name in after))
    return table


def gaps_closed(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float | None]:
    """Shares of the gap between the untrained student and the teacher that training closed.

    Args:
        before: Figures of an evaluation set before training.
        after: The same after training.

    Returns:
        By figure.
    """
    return {
        "bits_per_byte": gap_closed(
            before=before["bits_per_byte_student"],
            after=after["bits_per_byte_student"],
            teacher=after["bits_per_byte_teacher"],
        ),
        "chunk_difference": gap_closed(
            before=before["chunk_difference"], after=after["chunk_difference"], teacher=0.0
        ),
    }


def show_sample(console: Console, sample: Mapping[str, str]) -> None:
    """Prints one held-out prompt with both continuations.

    Args:
        console: Where to.
        sample: ``prompt``, ``teacher`` and ``student``.
    """
    console.print()
    for name, text in (
        ("prompt", _tail(sample["prompt"])),
        ("teacher", repr(sample["teacher"])),
        ("student", repr(sample["student"])),
    ):
        console.print(Text.assemble((f"{name:<9}", "bold"), text), soft_wrap=True)


def _tail(prompt: str, length: int = 80) -> str:
    return repr(prompt if len(prompt) <= length else "..." + prompt[-length:])


def make_summary(
    cfg: DictConfig,
    trainer: L.Trainer,
    data: DistillDataModule,
    before: Figures,
    after: Figures,
    started: float,
) -> dict:
    """The summary of a run, for programs.

    Args:
        cfg: The composed configuration.
        trainer: The trainer, after the run.
        data: The data module.
        before: Figures before training, by evaluation set.
        after: The same after training.
        started: `time.perf_counter` at the start of the run.

    Returns:
        Plain values; bits per byte, nats, bytes and seconds. ``steps`` counts those before a
        resume, ``seconds.timed_steps`` those that this process made.
    """
    # callbacks.speed=null times nothing: no reason to lose the run's other figures
    speed = next((c for c in trainer.callbacks if isinstance(c, Speed)), Speed())

    def bits(name: str) -> dict[str, float]:
        return {
            "teacher": after[name]["bits_per_byte_teacher"],
            "student_before": before[name]["bits_per_byte_student"],
            "student_after": after[name]["bits_per_byte_student"],
        }

    return {
        "experiment": cfg.name,
        "overrides": task_overrides(),
        "seed": cfg.seed,
        "steps": trainer.global_step,
        "seconds": {
            "total": time.perf_counter() - started,
            "train": speed.train_seconds,
            "timed_steps": speed.num_steps,
            "per_step": speed.train_seconds / speed.num_steps if speed.num_steps else None,
        },
        "bits_per_byte": bits("heldout"),
        "bits_per_byte_other": bits("other"),
        "chunk_difference": {
            "before": before["heldout"]["chunk_difference"],
            "after": after["heldout"]["chunk_difference"],
            "before_other": before["other"]["chunk_difference"],
            "after_other": after["other"]["chunk_difference"],
        },
        # (before - after) / (before - teacher)
        "gap_closed": {name: gaps_closed(before[name], after[name]) for name in after},
        "chunks": {
            # of all bytes, those that are not to be trained on included
            "coverage": after["heldout"]["coverage"],
            # bytes outside of what is trained on, by reason
            "outside_bytes": {
                reason: int(after["heldout"][f"outside_bytes_{reason}"]) for reason in DATA_REASONS
            },
            "count": int(after["heldout"]["chunks"]),
            "bytes_per_chunk": after["heldout"]["bytes_per_chunk"],
            "student_tokens_per_chunk": after["heldout"]["student_tokens_per_chunk"],
            "teacher_tokens_per_chunk": after["heldout"]["teacher_tokens_per_chunk"],
        },
        # documents left out by on_bad_document=skip, by kind, as far as the first rank met them
        "bad_documents": data.bad_documents,
        "peak_memory_bytes": peak_memory_bytes(),
        "model_path": str(Path(cfg.paths.output_dir).absolute() / "model"),
        "versions": versions(),
    }


def timing_line(summary: Mapping) -> str:
    """How long a run took, in words.

    Args:
        summary: From `make_summary`.

    Returns:
        A line without its end.
    """
    steps, seconds = summary["steps"], summary["seconds"]
    if not seconds["timed_steps"]:
        return f"{steps} steps, none timed, {seconds['total']:.0f} s in all"
    resumed = seconds["timed_steps"] != steps
    timed = f"{steps} steps, {seconds['timed_steps']} of them here" if resumed else f"{steps} steps"
    return (
        f"{timed} in {seconds['train']:.0f} s ({seconds['per_step']:.2f} s each), "
        f"{seconds['total']:.0f} s in all"
    )


def write_summary(path: Path, summary: Mapping) -> None:
    """Writes the summary of a run, whole or not at all: it is what says that a run is finished.

    Args:
        path: A file that does not exist yet.
        summary: Plain values.

    Raises:
        FileExistsError: It does exist, and a run never writes over another.
    """
    if path.exists():
        raise FileExistsError(f"{path} exists, and a run never writes over another.")
    part = path.with_name(f"{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        json.dump(summary, file, indent=2, ensure_ascii=False)
        file.write("\n")
    os.replace(part, path)
