"""Tables of a report: what training changed, and figures of models side by side."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from alm_lightning.evaluation.report.data import Evaluated
from alm_lightning.metrics.totals import gap_closed
from alm_lightning.show.numbers import MINUS, NONE, Figure, estimate, fixed, percent
from alm_lightning.show.tables import Row, Table

DOMAINS = {"": "training domain", "_other": "other domain"}
"""The evaluation sets of a run, by what the names in its summary end in."""


def headline_table(summary: Mapping[str, object]) -> Table | None:
    """Figures before and after training, beside the teacher; None if there are none."""
    rows = list(_before_after(summary))
    columns = ("student before", "student after", "teacher", "gap closed")
    return Table({"": rows}, columns, form="headline") if rows else None


def _before_after(summary: Mapping[str, object]) -> Iterator[Row]:
    for end, domain in DOMAINS.items():
        bits = mapping(summary.get(f"bits_per_byte{end}"))
        before, after, teacher = (
            _value(bits, name) for name in ("student_before", "student_after", "teacher")
        )
        if after is not None:
            cells = [fixed(before), fixed(after), fixed(teacher), _gap(before, after, teacher)]
            yield Row(f"bits per byte, {domain}", cells)
    difference = mapping(summary.get("chunk_difference"))
    for end, domain in DOMAINS.items():
        before, after = _value(difference, f"before{end}"), _value(difference, f"after{end}")
        if after is not None:
            cells = [fixed(before), fixed(after), NONE, _gap(before, after, 0.0)]
            yield Row(f"|log p_T {MINUS} log p_S| per chunk, {domain}", cells, "nats")


def _gap(before: float | None, after: float, teacher: float | None) -> str:
    if before is None or teacher is None:
        return NONE
    return percent(gap_closed(before=before, after=after, teacher=teacher))


def figures_table(results: Sequence[Evaluated], models: Sequence[str]) -> Table:
    """The main figures: a group of rows for each harness, a column for each model."""
    by_harness: dict[str, list[Evaluated]] = {}
    for result in results:
        by_harness.setdefault(result.harness, []).append(result)
    rows = {name: list(_figure_rows(own, models)) for name, own in by_harness.items()}
    return Table(rows, ("items", *models))


def _figure_rows(results: Sequence[Evaluated], models: Sequence[str]) -> Iterator[Row]:
    for name in dict.fromkeys(name for result in results for name in result.figures):
        own = {result.model: result.figures[name] for result in results if name in result.figures}
        first = next(iter(own.values()))
        label = name.replace("_", " ")
        # not twice, where the name of a figure says it
        is_in_label = first.unit.replace("/", " per ").removesuffix("s") in label
        unit = f"{'' if is_in_label else first.unit} {first.arrow}".strip()
        # models may have been evaluated on different numbers of items
        items = "/".join(dict.fromkeys(f"{figure.count:,}" for figure in own.values()))
        yield Row(label, [items, *figure_cells(own, models)], unit)


def figure_cells(own: Mapping[str, Figure], models: Sequence[str]) -> list[str | None]:
    """The cells of a row: a figure of each model, None where it has none."""
    return [estimate(own[model]) if model in own else None for model in models]


def mapping(value: object) -> Mapping[str, Any]:
    """A value of a JSON file that should be a mapping; an empty one if it is not."""
    return value if isinstance(value, Mapping) else {}


def _value(figures: Mapping[str, object], name: str) -> float | None:
    value = figures.get(name)
    return float(value) if isinstance(value, int | float) else None
