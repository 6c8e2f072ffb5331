"""Training curves: a small chart for each term of the loss, and for each held-out figure."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from alm_lightning.evaluation.report.data import Curve
from alm_lightning.show.charts import MOST_POINTS, Line, line_chart
from alm_lightning.show.numbers import MINUS, short

UNITS = {
    "loss": "weighted sum of the terms",
    "alm": "nats per merged chunk",
    "next_token": "nats per token",
}
"""Of the terms that are known; any other objective says in its own file what it sums."""
ASIDE = {
    "train/lr": ("learning rate", "per step", 1.0),
    "train/gradient_norm": ("norm of the gradient", "before clipping", 1.0),
    "speed/seconds_per_step": ("time of a step", "seconds", 1.0),
    "speed/bytes_per_second": ("text read", "bytes per second", 1.0),
    "speed/peak_memory_bytes": ("peak memory", "GiB", 2.0**-30),
}
"""What is of interest when a run went wrong: name, unit, and factor."""
SETS = {"heldout": "training domain", "other": "other domain"}


def loss_charts(curves: Mapping[str, Curve]) -> str:
    """The loss and its terms.

    Args:
        curves: All curves of a run.

    Returns:
        Figures; nothing if no loss was logged.
    """
    names = [name for name in curves if name.startswith("train/") and name not in ASIDE]
    terms = [name for name in names if not name.startswith("train/balance_")]
    # the sum comes first
    terms.sort(key=lambda name: name != "train/loss")
    return "".join(_one(curves[name], *_told(name.removeprefix("train/"))) for name in terms)


def heldout_charts(curves: Mapping[str, Curve]) -> str:
    """Figures on held-out text over training.

    Args:
        curves: All curves of a run.

    Returns:
        Figures; nothing if there was no validation.
    """
    return "".join(_heldout(curves))


def side_charts(curves: Mapping[str, Curve]) -> str:
    """Learning rate, gradients, balance, speed.

    Args:
        curves: All curves of a run.

    Returns:
        Figures; nothing if none of these was logged.
    """
    found = []
    for name, (label, unit, factor) in ASIDE.items():
        if name in curves:
            points = tuple((step, value * factor) for step, value in curves[name].points)
            found.append(_one(Curve(name, points), label, unit))
    found += [
        _one(curve, f"weight of {name.removeprefix('train/balance_')}", "in the sum")
        for name, curve in curves.items()
        if name.startswith("train/balance_")
    ]
    return "".join(found)


def note(curves: Mapping[str, Curve]) -> str:
    """How charts with many points are drawn.

    Args:
        curves: All curves of a run.

    Returns:
        A sentence; nothing if no curve has so many.
    """
    most = max((len(curve.points) for curve in curves.values()), default=0)
    if most <= MOST_POINTS:
        return ""
    return (
        f'<p class="how">Of more than {MOST_POINTS} values, lines are means of neighbours; the '
        "band around a line goes from the least to the most of them.</p>"
    )


def _heldout(curves: Mapping[str, Curve]) -> Iterator[str]:
    sets = dict.fromkeys(name.split("/")[1] for name in curves if name.startswith("val/"))
    for name in sets:
        where = SETS.get(name, name)
        sides = {
            side: curves[f"val/{name}/bits_per_byte_{side}"]
            for side in ("student", "teacher")
            if f"val/{name}/bits_per_byte_{side}" in curves
        }
        if sides:
            yield _figure(sides, f"bits per byte, {where}", "bits/byte")
    for name in sets:
        curve = curves.get(f"val/{name}/chunk_difference")
        if curve is not None:
            label = f"|log p_T {MINUS} log p_S|, {SETS.get(name, name)}"
            yield _one(curve, label, "nats per chunk")


def _told(term: str) -> tuple[str, str]:
    return term.replace("_", " "), UNITS.get(term, "mean over its items")


def _one(curve: Curve, label: str, unit: str) -> str:
    return _figure({label: curve}, label, unit)


def _figure(curves: Mapping[str, Curve], label: str, unit: str) -> str:
    lines = [Line(name, curve.points, color) for color, (name, curve) in enumerate(curves.items())]
    return (
        f"<figure><figcaption><b>{escape(label)}</b> {_last(lines)}</figcaption>"
        f"{line_chart(lines, label=label, unit=unit)}</figure>\n"
    )


def _last(lines: Sequence[Line]) -> str:
    told = []
    ends = {line.points[-1][0] for line in lines}
    for line in lines:
        step, value = line.points[-1]
        # said once where all lines end together
        at = f" at step {step:,.0f}" if len(ends) > 1 or line is lines[-1] else ""
        name = f'<i class="swatch b{line.color}"></i>{escape(line.name)} ' if len(lines) > 1 else ""
        broken = sum(value != value for _, value in line.points)
        note = f" ({broken:,} of {len(line.points):,} are no number)" if broken else ""
        told.append(f'<span class="end">{name}{short(value, 4)}{at}{note}</span>')
    return " ".join(told)
