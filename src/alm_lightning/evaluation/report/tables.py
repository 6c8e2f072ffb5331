"""Tables of a report: what training changed, and figures of models side by side."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from alm_lightning.evaluation.harness import Figure
from alm_lightning.evaluation.report.data import Evaluated
from alm_lightning.evaluation.report.rows import Cells, breakable, estimate
from alm_lightning.metrics.gap import gap_closed
from alm_lightning.show.numbers import MINUS, NONE, fixed, percent

DOMAINS = {"": "training domain", "_other": "other domain"}
"""The evaluation sets of a run, by what the names in its summary end in."""
ARROWS = {True: "↓", False: "↑", None: ""}


def headline_table(summary: Mapping[str, object]) -> str:
    """Figures before and after training, beside the teacher.

    Args:
        summary: What summary.json holds; one of an older version may have fewer keys.

    Returns:
        A table; nothing if the summary has no such figures.
    """
    rows = list(_before_after(summary))
    if not rows:
        return ""
    body = "".join(
        f'<tr><th scope="row">{escape(label)} <small>{escape(unit)}</small></th>'
        + "".join(f"<td>{cell}</td>" for cell in cells)
        + "</tr>"
        for label, unit, cells in rows
    )
    heads = "".join(
        f'<th scope="col">{name}</th>'
        for name in ("student before", "student after", "teacher", "gap closed")
    )
    return (
        f'<table class="headline"><thead><tr><td></td>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def _before_after(summary: Mapping[str, object]) -> Iterator[tuple[str, str, list[str]]]:
    for end, domain in DOMAINS.items():
        bits = _mapping(summary.get(f"bits_per_byte{end}"))
        before, after, teacher = (
            _value(bits, name) for name in ("student_before", "student_after", "teacher")
        )
        if after is not None:
            cells = [fixed(before), fixed(after), fixed(teacher), _gap(before, after, teacher)]
            yield f"bits per byte, {domain}", "", cells
    difference = _mapping(summary.get("chunk_difference"))
    for end, domain in DOMAINS.items():
        before, after = _value(difference, f"before{end}"), _value(difference, f"after{end}")
        if after is not None:
            cells = [fixed(before), fixed(after), NONE, _gap(before, after, 0.0)]
            yield f"|log p_T {MINUS} log p_S| per chunk, {domain}", "nats", cells


def _gap(before: float | None, after: float, teacher: float | None) -> str:
    if before is None or teacher is None:
        return NONE
    return percent(gap_closed(before=before, after=after, teacher=teacher))


def figures_table(results: Sequence[Evaluated], models: Sequence[str]) -> str:
    """The main figures of all models under all harnesses.

    Args:
        results: One for each model under each harness.
        models: Names, in the order of columns.

    Returns:
        A table, which a narrow page shows figure by figure.
    """
    bodies = "".join(
        f'<tbody><tr class="harness"><th scope="rowgroup" colspan="{len(models) + 2}">'
        f"{escape(harness)}</th></tr>{''.join(_figure_rows(own, models))}</tbody>"
        for harness, own in _by_harness(results).items()
    )
    heads = "".join(f'<th scope="col">{breakable(model)}</th>' for model in models)
    return (
        '<table class="stack"><thead><tr><td></td><th scope="col">items</th>'
        f"{heads}</tr></thead>{bodies}</table>"
    )


def _by_harness(results: Sequence[Evaluated]) -> dict[str, list[Evaluated]]:
    found: dict[str, list[Evaluated]] = {}
    for result in results:
        found.setdefault(result.harness, []).append(result)
    return found


def _figure_rows(results: Sequence[Evaluated], models: Sequence[str]) -> Iterator[str]:
    names = dict.fromkeys(name for result in results for name in result.figures)
    for name in names:
        own = {result.model: result.figures[name] for result in results if name in result.figures}
        first = next(iter(own.values()))
        label = name.replace("_", " ")
        unit = escape(_added_unit(label, first.unit) + ARROWS[first.lower_is_better])
        # models that were evaluated on different numbers of items are seen to be
        items = "/".join(dict.fromkeys(f"{figure.count:,}" for figure in own.values()))
        yield (
            f'<tr><th scope="row">{escape(label)} <small>{unit}</small></th>'
            f'<td data-of="items">{items}</td>{_cells(own, models)}</tr>'
        )


def _added_unit(label: str, unit: str) -> str:
    """The unit, unless the name of a figure says it already."""
    return "" if unit.replace("/", " per ").removesuffix("s") in label else f"{unit} "


def group_table(cells: Cells, models: Sequence[str]) -> str:
    """Figures of parts of a corpus as numbers.

    Args:
        cells: Figures by part and model.
        models: Names, in the order of columns.

    Returns:
        A table, which a narrow page shows part by part.
    """
    heads = "".join(f'<th scope="col">{breakable(model)}</th>' for model in models)
    body = "".join(
        f'<tr><th scope="row">{breakable(name)}</th>{_cells(own, models)}</tr>'
        for name, own in cells.items()
    )
    return (
        f'<table class="stack"><thead><tr><td></td>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def _cells(own: Mapping[str, Figure], models: Sequence[str]) -> str:
    return "".join(
        f'<td data-of="{escape(model)}">{estimate(own[model])}</td>'
        if model in own
        else f'<td class="no">{NONE}</td>'
        for model in models
    )


def facts_table(facts: Mapping[str, object], heading: str) -> str:
    """Names and values.

    Args:
        facts: Values by name.
        heading: What they are.

    Returns:
        A table; nothing without facts.
    """
    if not facts:
        return ""
    body = "".join(
        f'<tr><th scope="row">{escape(str(name))}</th><td>{escape(str(value))}</td></tr>'
        for name, value in facts.items()
    )
    return f'<table class="facts"><caption>{escape(heading)}</caption><tbody>{body}</tbody></table>'


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _value(figures: Mapping[str, object], name: str) -> float | None:
    value = figures.get(name)
    return float(value) if isinstance(value, int | float) else None
