"""Training curves: a small chart for each term of the loss, and for each held-out figure."""

from collections.abc import Iterator, Mapping

from alm_lightning.evaluation.report.data import Curve
from alm_lightning.show.charts import MAX_POINTS, Line, line_chart
from alm_lightning.show.numbers import MINUS, short
from alm_lightning.show.page import Block, Chart, Charts, Details, Heading, Text

UNITS = {
    "loss": "weighted sum of the terms",
    "alm": "nats per merged chunk",
    "next_token": "nats per token",
}
"""Of the terms that are known; any other objective says in its own file what it sums."""
ASIDE = {
    "train/lr": ("learning rate", "per step", 1.0),
    "train/gradient_norm": ("norm of the gradient", "before clipping", 1.0),
    "train/teacher_tokens": ("read by the teacher so far", "millions of tokens", 1e-6),
    "speed/seconds_per_step": ("time of a step", "seconds", 1.0),
    "speed/waiting_for_data": ("waiting for data", "share of the time", 1.0),
    "speed/bytes_per_second": ("text read", "bytes per second", 1.0),
    "speed/peak_memory_bytes": ("peak memory", "GiB", 2.0**-30),
}
"""What is of interest when a run went wrong: name, unit, and factor."""
SETS = {"heldout": "training domain", "other": "other domain"}
BALANCE = "train/balance_"

Curves = Mapping[str, Curve]


def curve_blocks(curves: Curves) -> list[Block]:
    """Charts of losses and held-out figures; nothing if neither was logged."""
    losses, heldout, aside = (list(f(curves)) for f in (loss_charts, heldout_charts, side_charts))
    if not losses and not heldout:
        return []
    blocks: list[Block] = []
    if any(len(curve.points) > MAX_POINTS for curve in curves.values()):
        blocks.append(
            Text(
                f"Lines of more than {MAX_POINTS} values are means of neighbours; the band around "
                "a line is from their minimum to their maximum."
            )
        )
    if losses:
        blocks.append(Charts(losses))
    if heldout:
        blocks += [Heading("Held-out text"), Charts(heldout)]
    if aside:
        blocks.append(Details("Learning rate, gradients, speed", [Charts(aside)]))
    return blocks


def loss_charts(curves: Curves) -> Iterator[Chart]:
    """The loss and its terms, the sum first."""
    names = [name for name in curves if name.startswith("train/") and name not in ASIDE]
    terms = [name for name in names if not name.startswith(BALANCE)]
    for name in sorted(terms, key=lambda name: name != "train/loss"):
        term = name.removeprefix("train/")
        unit = UNITS.get(term, "mean over its items")
        yield _chart({term.replace("_", " "): curves[name]}, term.replace("_", " "), unit)


def heldout_charts(curves: Curves) -> Iterator[Chart]:
    """Figures on held-out text over training."""
    sets = dict.fromkeys(name.split("/")[1] for name in curves if name.startswith("val/"))
    for name in sets:
        keys = {side: f"val/{name}/bits_per_byte_{side}" for side in ("student", "teacher")}
        sides = {side: curves[key] for side, key in keys.items() if key in curves}
        if sides:
            yield _chart(sides, f"bits per byte, {SETS.get(name, name)}", "bits/byte")
    for name in sets:
        curve = curves.get(f"val/{name}/chunk_difference")
        if curve is not None:
            label = f"|log p_T {MINUS} log p_S|, {SETS.get(name, name)}"
            yield _chart({label: curve}, label, "nats per chunk")


def side_charts(curves: Curves) -> Iterator[Chart]:
    """Learning rate, gradients, speed, balance of the terms."""
    for name, (label, unit, factor) in ASIDE.items():
        if name in curves:
            points = tuple((step, value * factor) for step, value in curves[name].points)
            yield _chart({label: Curve(name, points)}, label, unit)
    for name, curve in curves.items():
        if name.startswith(BALANCE):
            label = f"weight of {name.removeprefix(BALANCE)}"
            yield _chart({label: curve}, label, "in the sum")


def _chart(curves: Curves, label: str, unit: str) -> Chart:
    lines = [Line(name, curve.points, color) for color, (name, curve) in enumerate(curves.items())]
    last_steps = {line.points[-1][0] for line in lines}
    ends = []
    for line in lines:
        step, value = line.points[-1]
        # once where all lines end together
        at = f" at step {step:,.0f}" if len(last_steps) > 1 or line is lines[-1] else ""
        broken = sum(value != value for _, value in line.points)
        note = f" ({broken:,} of {len(line.points):,} are not finite)" if broken else ""
        name, color = (f"{line.name} ", line.color) if len(lines) > 1 else ("", None)
        ends.append((f"{name}{short(value, 4)}{at}{note}", color))
    return Chart(label, line_chart(lines, label=label, unit=unit), ends)
