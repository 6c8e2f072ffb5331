"""Figures by part of a corpus: phenomena of BLiMP, locales, any column; and lengths of chunks."""

import math
from collections.abc import Iterator, Mapping, Sequence

from alm_lightning.evaluation.report.data import Evaluated, ReportData
from alm_lightning.evaluation.report.tables import figure_cells
from alm_lightning.show.charts import histogram
from alm_lightning.show.dots import dot_charts
from alm_lightning.show.numbers import Figure, percent, short
from alm_lightning.show.page import Block, Chart, Charts, Details, Text
from alm_lightning.show.tables import Row, Table

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
    """By name of a group, what figures are split by: ``accuracy by phenomenon``; not lengths."""
    titles: dict[str, str] = {}
    for result in data.of(harness):
        for by, members in result.groups.items():
            if by != LENGTHS and members:
                name = _drawn(members, harness).replace("_", " ")
                titles.setdefault(by, f"{name} by {_kind(result, by)}")
    return titles


def group_blocks(data: ReportData, harness: str, by: str) -> list[Block]:
    """The figures of a harness by part, as charts and as a table."""
    results = [result for result in data.of(harness) if result.groups.get(by)]
    name = _drawn(results[0].groups[by], harness)
    own = {result.model for result in results}
    # a model has its number all over the page
    models = {model: number for number, model in enumerate(data.models) if model in own}
    first = next(iter(models))
    rows = _sorted(_rows(results, by, name), first)
    figure = next(figure for row in rows.values() for figure in row.values())
    is_share = figure.unit in ("accuracy", "share")
    chance = CHANCE.get(harness) if is_share else None
    order = "largest" if figure.lower_is_better is None else "best"
    line = "; the dashed line is what guessing gives" if chance is not None else ""
    how = (
        f"{len(rows):,} rows, sorted by {first}, {order} first. "
        f"Bars: ± one standard error{line}.{BETTER[figure.lower_is_better]}"
    )
    drawn = dot_charts(rows, models, unit=figure.unit, is_share=is_share, reference=chance)
    numbers = [Row(part, figure_cells(own, list(models))) for part, own in rows.items()]
    return [
        Text(how),
        Charts([Chart("", svg) for svg in drawn], models),
        Details("The same in numbers", [Table({"": numbers}, list(models))], note=figure.unit),
    ]


def _kind(result: Evaluated, by: str) -> str:
    """What a group is: the column of the corpus, if the settings name it."""
    node: object = result.settings
    for key in ("harness", "source", "group_column"):
        node = node.get(key) if isinstance(node, Mapping) else None
    name = node if by == "group" and isinstance(node, str) else by
    return COLUMNS.get(name, name).replace("_", " ")


def _drawn(members: Mapping[str, Mapping[str, Figure]], harness: str) -> str:
    names = list(next(iter(members.values())))
    preferred = PREFERRED.get(harness)
    return preferred if preferred in names else names[0]


def _rows(results: Sequence[Evaluated], by: str, name: str) -> dict[str, dict[str, Figure]]:
    rows: dict[str, dict[str, Figure]] = {}
    for result in results:
        for part, figures in result.groups[by].items():
            if name in figures:
                rows.setdefault(part, {})[result.model] = figures[name]
    return rows


def _sorted(
    rows: Mapping[str, Mapping[str, Figure]], model: str
) -> dict[str, Mapping[str, Figure]]:
    """Rows from a model's best to its worst, then those that it lacks."""

    def key(part: str) -> tuple[bool, float, str]:
        figure = rows[part].get(model)
        if figure is None or not math.isfinite(figure.value):
            return True, 0.0, part
        return False, figure.value if figure.lower_is_better else -figure.value, part

    return {part: rows[part] for part in sorted(rows, key=key)}


def length_charts(data: ReportData) -> list[Chart]:
    """Histograms of the lengths of chunks in bytes, one a model that has them."""
    return [_lengths(result) for result in data.results if result.groups.get(LENGTHS)]


def _lengths(result: Evaluated) -> Chart:
    members = result.groups[LENGTHS]
    shares = {int(length): next(iter(own.values())).value for length, own in members.items()}
    count = sum(next(iter(own.values())).count for own in members.values())
    mean = sum(length * share for length, share in shares.items())
    largest = max(shares, key=lambda length: shares[length])
    note = (
        f"{count:,} chunks, {short(mean)} bytes on average; {percent(shares[largest])} have "
        f"{largest:,}, the longest has {max(shares):,}"
    )
    chart = histogram(
        list(_bars(shares)),
        label=f"{result.model}: lengths of chunks in bytes. {note}",
        x_label="bytes of a chunk",
        y_label="% of chunks",
    )
    return Chart(result.model, chart, [(note, None)])


def _bars(shares: Mapping[int, float]) -> Iterator[tuple[str, float]]:
    # lengths that no chunk has are bars of no height: the axis has no gaps
    for length in range(min(shares), min(max(shares), LONGEST - 1) + 1):
        yield str(length), shares.get(length, 0.0)
    longer = [share for length, share in shares.items() if length >= LONGEST]
    if longer:
        yield f"{LONGEST}+", sum(longer)
