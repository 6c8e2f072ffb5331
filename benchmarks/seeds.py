"""One table over runs with several seeds: means and standard errors, and shares of the gap closed.

    python benchmarks/seeds.py [--blimp FILE] [--teacher MODEL] [--before MODEL] RUN [RUN ...]

A run is a folder with a summary.json (of a multirun, too). Runs that differ in nothing but their
seed make one row. BLiMP comes from the lines that benchmarks/blimp.py added to a file with --json;
those of the teacher and of the student before training are told by their model's folder.
Share of the gap closed = (before - after) / (before - teacher), of each run.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

from alm_lightning.app.bakeoff.figures import over_runs
from alm_lightning.metrics.totals import gap_closed

FIGURES = {
    "bits per byte, training domain": ("bits_per_byte", "teacher", "student_before"),
    "bits per byte, other domain": ("bits_per_byte_other", "teacher", "student_before"),
    "difference, training domain (nats)": ("chunk_difference", None, "before"),
    "difference, other domain (nats)": ("chunk_difference", None, "before_other"),
}
AFTER = {"student_before": "student_after", "before": "after", "before_other": "after_other"}
BLIMP = "BLiMP"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--blimp", type=Path, help="what blimp.py --json wrote")
    parser.add_argument("--teacher", help="the teacher's folder, as blimp.py was given it")
    parser.add_argument("--before", help="the untrained student's folder, likewise")
    return parser


def main() -> None:
    args = _parser().parse_args()
    lines = args.blimp.read_text(encoding="utf-8").splitlines() if args.blimp else []
    blimp = {row["model"]: row["accuracy"] for row in map(json.loads, lines)}
    groups = defaultdict(list)
    for run in args.runs:
        summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
        groups[name_of(summary["overrides"])].append(summary)
    shared = set.intersection(*(set(name) for name in groups))
    ends = (blimp.get(args.teacher), blimp.get(args.before))
    rows, shares = {}, {}
    for name, summaries in groups.items():
        found = [figures(summary, blimp, ends) for summary in summaries]
        label = ", ".join(part for part in name if part not in shared) or "all alike"
        rows[f"{label} ({len(summaries)} seeds)"] = {
            figure: [each[figure][2] for each in found] for figure in found[0]
        }
        shares[label] = {figure: [closed(*each[figure]) for each in found] for figure in found[0]}
    first = next(iter(groups.values()))[0]
    for place, name in enumerate(("teacher", "before")):
        of_first = {figure: [v[place]] for figure, v in figures(first, blimp, ends).items()}
        rows = {name: of_first} | rows
    print_table("", rows)
    print_table("share of the gap closed", shares)


def name_of(overrides: list[str]) -> tuple[str, ...]:
    """What makes runs alike: everything that was said but the seed and where the output goes."""
    not_names = ("seed=", "paths.", "hydra.")
    # in whatever order it was said
    return tuple(sorted(part for part in overrides if not part.startswith(not_names)))


def figures(summary: dict, blimp: dict, ends: tuple) -> dict[str, tuple]:
    """Teacher, before and after of each figure."""
    found = {}
    for title, (group, teacher, before) in FIGURES.items():
        node = summary[group]
        found[title] = (node[teacher] if teacher else 0.0, node[before], node[AFTER[before]])
    if blimp:
        found[BLIMP] = (*ends, blimp.get(summary["model_path"]))
    return found


def closed(teacher: float | None, before: float | None, after: float | None) -> float | None:
    if teacher is None or before is None or after is None:
        return None
    return gap_closed(before=before, after=after, teacher=teacher)


def print_table(corner: str, rows: dict[str, dict[str, list]]) -> None:
    titles = list(next(iter(rows.values())))
    print(f"\n| {corner} | {' | '.join(titles)} |\n|{'---|' * (len(titles) + 1)}")
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(cell(row[title]) for title in titles)} |")


def cell(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "not measured"
    mean, stderr = over_runs(known)
    error = "" if stderr is None else f" ± {stderr:.3f}"
    return f"{mean:.3f}{error}" + (f" (of {len(known)})" if len(known) < len(values) else "")


if __name__ == "__main__":
    main()
