"""The page of a sweep: which parts it has."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from alm_lightning.evaluation.sweep.reading import FIGURES, Sweep, SweepRun, curves_of, read_sweep
from alm_lightning.show.charts import Line, line_chart
from alm_lightning.show.dots import mark
from alm_lightning.show.numbers import MINUS, fixed, short
from alm_lightning.show.page import Block, Chart, Charts, Details, Section, Text, render_page
from alm_lightning.show.parallel import parallel_chart, scale_of
from alm_lightning.show.tables import Row, Table, facts

PAGE = "sweep.html"
BEST = 5
"""Runs that have a mark of their own: as many as there are marks."""
IN_TABLE = 20
"""Runs of the first table; the others are in one that a click opens."""
NOT_GIVEN = "not given"
CURVES = {
    "val/heldout/bits_per_byte_student": ("bits per byte", "bits/byte"),
    "val/other/bits_per_byte_student": ("bits per byte, other domain", "bits/byte"),
    "val/heldout/chunk_difference": (f"|log p_T {MINUS} log p_S|", "nats per chunk"),
    "train/loss": ("training loss", "weighted sum of the terms"),
}
"""What is drawn over steps: title and unit."""


def write_sweep_page(folder: Path) -> Path:
    """Writes the page of a sweep into its folder, in place of one of fewer runs.

    Args:
        folder: The folder of the sweep.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: No run of the sweep has ended.
    """
    html = sweep_page(read_sweep(folder))
    path = folder / PAGE
    part = path.with_suffix(".part")
    part.write_bytes(html.encode("utf-8", errors="replace"))
    os.replace(part, path)
    return path


def sweep_page(sweep: Sweep) -> str:
    """The page of a sweep, as HTML that needs no other file."""
    failed = sum(run.failure is not None for run in sweep.runs)
    runs = f"{len(sweep.runs)}{f', {failed} of them failed' if failed else ''}"
    folder = sweep.folder.absolute()
    return render_page(
        "report",
        title=f"Sweep {folder.parent.name}, {folder.name}",
        names={"folder": str(sweep.folder), "runs": runs},
        sections=list(_sections(sweep)),
    )


def _sections(sweep: Sweep) -> Iterator[Section]:
    ranked = sweep.ranked
    marked = {run.name: place for place, run in enumerate(ranked[:BEST])}
    if ranked:
        yield Section("settings", "Settings and figures", list(_parallel(sweep, marked)))
        yield Section("best", "Best runs", list(_tables(sweep, marked)))
        curves = list(_curves(ranked[:BEST]))
        if curves:
            yield Section("curves", "Curves of the best runs", [Charts(curves, _legend(marked))])
    failed = [run for run in sweep.runs if run.failure is not None]
    if failed:
        rows = [Row(f"run {run.name}", [_settings(run, sweep), run.failure]) for run in failed]
        table = Table({"": rows}, form="facts")
        yield Section("failed", "Failed runs", [table])
    if sweep.shared:
        yield Section("shared", "Settings of all runs", [facts(sweep.shared, "")])


def _parallel(sweep: Sweep, marked: Mapping[str, int]) -> Iterator[Block]:
    ranked = sweep.ranked
    yield Text(
        "A line is a run: through its settings, on the left, to its figures. ↓ lower is better. "
        f"The best {len(marked)} by {next(iter(FIGURES.values())).rstrip(' ↓')} have marks; point "
        "at a line for its values."
    )
    scales = [
        scale_of(key, {run.name: run.settings.get(key, NOT_GIVEN) for run in ranked})
        for key in sweep.varied
    ]
    for title in FIGURES.values():
        values = {run.name: run.figures[title] for run in ranked if title in run.figures}
        if values:
            scales.append(scale_of(title, values))
    titles = {
        run.name: "; ".join(
            [f"run {run.name}", _settings(run, sweep)]
            + [f"{title.rstrip(' ↓')} {fixed(value)}" for title, value in run.figures.items()]
        )
        for run in ranked
    }
    label = f"Settings and figures of {len(ranked)} runs, as lines; the table has the best ones"
    chart = Chart("", parallel_chart(scales, marked, titles, label=label))
    yield Charts([chart], _legend(marked), is_whole=True)


def _legend(marked: Mapping[str, int]) -> dict[str, int]:
    return {f"run {name}": series for name, series in marked.items()}


def _tables(sweep: Sweep, marked: Mapping[str, int]) -> Iterator[Block]:
    ranked = sweep.ranked
    yield _table(sweep, ranked[:IN_TABLE], marked)
    if len(ranked) > IN_TABLE:
        others = _table(sweep, ranked[IN_TABLE:], marked)
        yield Details(f"The other {len(ranked) - IN_TABLE} runs", [others])


def _table(sweep: Sweep, runs: Sequence[SweepRun], marked: Mapping[str, int]) -> Table:
    titles = [title for title in FIGURES.values() if any(title in run.figures for run in runs)]
    rows = []
    for run in runs:
        cells: list[str | None] = [_short(run.settings.get(key, NOT_GIVEN)) for key in sweep.varied]
        cells += [fixed(run.figures[name]) if name in run.figures else None for name in titles]
        note = "" if run.pruned_at is None else ", stopped early"
        cells.append(None if run.steps is None else f"{run.steps:,}{note}")
        unit = mark(marked[run.name])[0][2] if run.name in marked else ""
        rows.append(Row(f"run {run.name}", cells, unit))
    return Table({"": rows}, (*sweep.varied, *titles, "steps"), form="runs")


def _settings(run: SweepRun, sweep: Sweep) -> str:
    return ", ".join(f"{k}={_short(run.settings[k])}" for k in sweep.varied if k in run.settings)


def _short(value: str) -> str:
    """A value in a few letters: a sampler draws numbers of seventeen digits."""
    if len(value) > 8:
        try:
            return short(float(value), 4)
        except ValueError:
            return value
    return value


def _curves(best: Sequence[SweepRun]) -> Iterator[Chart]:
    curves = {run.name: curves_of(run) for run in best}
    for key, (title, unit) in CURVES.items():
        lines = [
            Line(f"run {name}", own[key], mark_number)
            for mark_number, (name, own) in enumerate(curves.items())
            if key in own
        ]
        if lines:
            ends = [(f"{line.name}: {short(line.points[-1][1], 4)}", line.color) for line in lines]
            # the best one on top
            drawn = line_chart(lines[::-1], label=title, unit=unit)
            yield Chart(title, drawn, ends)
