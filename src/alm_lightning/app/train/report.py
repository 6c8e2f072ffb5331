"""What a run shows and writes at its end: a table, the samples, the summary file."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from alm_lightning.distillation.figures import Figures, gaps_closed, together

HEADINGS = {"heldout": "training domain", "other": "other domain"}
"""What evaluation sets are called where a person reads."""


def results_table(before: Figures, after: Figures) -> Table:
    """The table that ends a run.

    Args:
        before: Figures before training, by evaluation set.
        after: The same after training.

    Returns:
        A table for the terminal; of several teachers, what they are together.
    """
    title = "Held-out text"
    if len(together(after)) < len(after):
        title = "Held-out text: all teachers together"
    before, after = together(before), together(after)
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in after:
        table.add_column(HEADINGS.get(name, name), justify="right")
    rows: dict[str, list[float | None]] = {
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


def teachers_table(before: Figures, after: Figures) -> Table | None:
    """A table of the figures beside each of several teachers.

    Args:
        before: Figures before training, by evaluation set.
        after: The same after training.

    Returns:
        A table for the terminal; None where there is one teacher.
    """
    beside = {name: name.partition("@")[::2] for name in after if name not in together(after)}
    if not beside:
        return None
    table = Table(title="Held-out text: beside each teacher", title_justify="left")
    headings = ("teacher's bits per byte", "difference a chunk before (nats)", "after")
    for heading in ("", "", *headings):
        table.add_column(heading, justify="right" if heading else "left")
    for name, (dataset, teacher) in beside.items():
        values = (
            after[name]["bits_per_byte_teacher"],
            before[name]["chunk_difference"],
            after[name]["chunk_difference"],
        )
        table.add_row(
            teacher, HEADINGS.get(dataset, dataset), *(f"{value:.3f}" for value in values)
        )
    return table


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


def timing_line(summary: Mapping) -> str:
    """How long a run took, in words.

    Args:
        summary: What `summary.json` holds.

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
