"""What happens around Hydra's runs: nothing is written over, and a sweep leaves one table."""

import json
import os
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

COLUMNS = {
    "bits_per_byte.teacher": "bpb teacher",
    "bits_per_byte.student_before": "bpb before",
    "bits_per_byte.student_after": "bpb after",
    "bits_per_byte_other.student_after": "bpb after, other domain",
    "chunk_difference.after": "chunk difference (nats)",
    "chunk_difference.after_other": "chunk difference, other domain",
    "seconds.per_step": "s a step",
}


class RefuseExistingFolder(Callback):
    """Ends a run whose output folder exists, before Hydra writes a byte into it."""

    def on_run_start(self, config: DictConfig, **kwargs) -> None:
        """Checks the folder of a single run."""
        refuse_existing(Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **kwargs) -> None:
        """Checks the folder of a sweep."""
        refuse_existing(Path(config.hydra.sweep.dir))


def refuse_existing(folder: Path) -> None:
    """Refuses an output folder that exists.

    Args:
        folder: Where a run is to write.

    Raises:
        SystemExit: If there is anything. Hydra turns any exception of a callback into a warning,
            and would go on to write into the folder.
    """
    # the other processes of a run on several devices find the folder that the first one made
    is_first = os.environ.get("LOCAL_RANK", "0") == "0"
    if folder.exists() and is_first:
        raise SystemExit(
            f"the output folder {folder} exists, and a run never writes over another. Give a new "
            "hydra.run.dir (or hydra.sweep.dir), or leave it to its default, which holds the time."
        )


class SweepTable(Callback):
    """After a multirun: one table over its runs, on the screen and as sweep.json and sweep.md."""

    def on_multirun_end(self, config: DictConfig, **kwargs) -> None:
        """Collects the summaries of the runs."""
        folder = Path(config.hydra.sweep.dir)
        rows = sweep_rows(folder)
        with (folder / "sweep.json").open("x", encoding="utf-8") as file:
            json.dump(rows, file, indent=2)
        (folder / "sweep.md").write_text(markdown(rows), encoding="utf-8")
        table = Table(title=f"{len(rows)} runs in {folder}", title_justify="left")
        for name in rows[0] if rows else []:
            is_text = name == "overrides"
            # what a run differs in is folded, where figures would leave no room for it
            table.add_column(
                name,
                justify="left" if is_text else "right",
                overflow="fold",
                min_width=16 if is_text else None,
            )
        for row in rows:
            table.add_row(*map(_cell, row.values()))
        Console().print(table)


def sweep_rows(folder: Path) -> list[dict[str, str | float | None]]:
    """One row for each finished run of a sweep.

    Args:
        folder: The sweep's folder, with one folder a run.

    Returns:
        Overrides and figures, in the order of the runs; by name where `hydra.sweep.subdir` gives
        folders names instead of numbers.
    """
    paths = sorted(folder.glob("*/summary.json"), key=_run_order)
    summaries = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    # what all runs share says nothing in a table that compares them
    shared = set.intersection(
        *(set(summary["overrides"]) for summary in summaries or [{"overrides": []}])
    )
    rows = []
    for summary in summaries:
        own = [override for override in summary["overrides"] if override not in shared]
        row: dict[str, str | float | None] = {"overrides": ", ".join(own)}
        for name, title in COLUMNS.items():
            group, _, key = name.partition(".")
            row[title] = summary[group][key]
        rows.append(row)
    return rows


def _run_order(path: Path) -> tuple[int, str]:
    name = path.parent.name
    return (int(name) if name.isdecimal() else 0, name)


def markdown(rows: list[dict[str, str | float | None]]) -> str:
    """A table in Markdown.

    Args:
        rows: From `sweep_rows`.

    Returns:
        The table, empty without rows.
    """
    if not rows:
        return ""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([_cell(v) for v in r.values()] for r in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(value: str | float | None) -> str:
    if value is None:  # a run that timed no step
        return "-"
    return value if isinstance(value, str) else f"{value:.3f}"


def task_overrides() -> list[str]:
    """What the command line of this run says beyond the defaults.

    Returns:
        Overrides, as they were typed; empty outside of Hydra.
    """
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
