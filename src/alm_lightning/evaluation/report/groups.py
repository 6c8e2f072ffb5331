"""Figures by part of a corpus: phenomena of BLiMP, locales, any column; and lengths of chunks."""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from alm_lightning.evaluation.harness import Figure
from alm_lightning.evaluation.report.data import Evaluated, ReportData
from alm_lightning.evaluation.report.rows import Cells, dot_rows, legend, row_scale
from alm_lightning.evaluation.report.tables import group_table
from alm_lightning.show.charts import histogram
from alm_lightning.show.numbers import percent, short

LENGTHS = "chunk_bytes"
"""The group whose values are lengths of chunks in bytes."""
LONGEST = 20
"""Chunks of this many bytes and more share one bar."""
CHANCE = {"blimp": 0.5}
"""What guessing gives, where it is known."""
PREFERRED = {"compare": "chunk_difference"}
"""The figure to draw, where it is not the first: bits per byte have a harness of their own."""
COLUMNS = {"lang": "locale", "language": "locale", "group": "group"}
"""What columns of a corpus are called, where their own name is not a word."""
BETTER = {True: " Lower is better.", False: " Higher is better.", None: ""}


def group_titles(data: ReportData, harness: str) -> dict[str, str]:
    """What the figures of a harness are split by, lengths of chunks left out.

    Args:
        data: The report.
        harness: Its name.

    Returns:
        From the name of a group to a title: ``accuracy by phenomenon``.
    """
    titles = {}
    for result in data.of(harness):
        for by, members in result.groups.items():
            if by != LENGTHS and members:
                name = _drawn(members, harness).replace("_", " ")
                titles.setdefault(by, f"{name} by {_kind(result, by)}")
    return titles


def group_chart(data: ReportData, harness: str, by: str) -> str:
    """The figures of a harness by part, as a chart and as a table.

    Args:
        data: The report.
        harness: Its name.
        by: What its figures are split by.

    Returns:
        HTML.
    """
    results = [result for result in data.of(harness) if result.groups.get(by)]
    name = _drawn(results[0].groups[by], harness)
    numbers = {model: number for number, model in enumerate(data.models)}
    models = {result.model: numbers[result.model] for result in results}
    first = next(iter(models))
    cells = _sorted(_cells(results, by, name), first)
    figure = next(figure for row in cells.values() for figure in row.values())
    is_share = figure.unit in ("accuracy", "share")
    chance = CHANCE.get(harness) if is_share else None
    order = "largest" if figure.lower_is_better is None else "best"
    line = "; the dashed line is what guessing gives" if chance is not None else ""
    how = (
        f"{len(cells):,} rows, sorted by {first}, {order} first. "
        f"Bars: ± one standard error{line}.{BETTER[figure.lower_is_better]}"
    )
    rows = dot_rows(
        cells, models, row_scale(cells, whole=is_share), unit=figure.unit, chance=chance
    )
    return (
        f'<p class="how">{escape(how)}</p>{legend(models)}<div class="blocks">{rows}</div>'
        f"<details><summary>The same in numbers <span>{escape(figure.unit)}</span></summary>"
        f"{group_table(cells, list(models))}</details>"
    )


def _kind(result: Evaluated, by: str) -> str:
    """What a group is: the column of the corpus, if the settings tell it."""
    node: object = result.settings
    for key in ("harness", "source", "group_column"):
        node = node.get(key) if isinstance(node, Mapping) else None
    name = node if by == "group" and isinstance(node, str) else by
    return COLUMNS.get(name, name).replace("_", " ")


def _drawn(members: Mapping[str, Mapping[str, Figure]], harness: str) -> str:
    names = list(next(iter(members.values())))
    preferred = PREFERRED.get(harness)
    return preferred if preferred in names else names[0]


def _cells(results: Sequence[Evaluated], by: str, name: str) -> Cells:
    cells: dict[str, dict[str, Figure]] = {}
    for result in results:
        for value, figures in result.groups[by].items():
            if name in figures:
                cells.setdefault(value, {})[result.model] = figures[name]
    return cells


def _sorted(cells: Cells, model: str) -> Cells:
    """Rows from a model's best to its worst; those that it lacks stand behind."""

    def key(value: str) -> tuple[bool, float, str]:
        figure = cells[value].get(model)
        if figure is None or not math.isfinite(figure.value):
            return True, 0.0, value
        return False, figure.value if figure.lower_is_better else -figure.value, value

    return {value: cells[value] for value in sorted(cells, key=key)}


def length_charts(data: ReportData) -> str:
    """Histograms of the lengths of chunks in bytes, one a model.

    Args:
        data: The report.

    Returns:
        Figures; nothing if there are none.
    """
    return "".join(_lengths(result) for result in data.results if result.groups.get(LENGTHS))


def _lengths(result: Evaluated) -> str:
    members = result.groups[LENGTHS]
    shares = {int(length): next(iter(own.values())).value for length, own in members.items()}
    count = sum(next(iter(own.values())).count for own in members.values())
    mean = sum(length * share for length, share in shares.items())
    largest = max(shares, key=lambda length: shares[length])
    told = (
        f"{count:,} chunks, {short(mean)} bytes on average; {percent(shares[largest])} have "
        f"{largest:,}, the longest has {max(shares):,}"
    )
    chart = histogram(
        list(_bars(shares)),
        label=f"{result.model}: lengths of chunks in bytes. {told}",
        x_label="bytes of a chunk",
        y_label="% of chunks",
    )
    return (
        f"<figure><figcaption><b>{escape(result.model)}</b> <span>{escape(told)}</span>"
        f"</figcaption>{chart}</figure>\n"
    )


def _bars(shares: Mapping[int, float]) -> Iterator[tuple[str, float]]:
    # lengths that no chunk has are bars of no height: the axis has no gaps
    for length in range(min(shares), min(max(shares), LONGEST - 1) + 1):
        yield str(length), shares.get(length, 0.0)
    longer = [share for length, share in shares.items() if length >= LONGEST]
    if longer:
        yield f"{LONGEST}+", sum(longer)
