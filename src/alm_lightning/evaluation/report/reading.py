"""From the files of a run and of an evaluation to the records of a report."""

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from alm_lightning.evaluation.report.data import Curve, Evaluated, ReportData, Run
from alm_lightning.evaluation.store import RESULT
from alm_lightning.show.chunks import Chunk, ScoredDocument
from alm_lightning.show.numbers import Figure

ORDER = "results.json"
"""Written by an evaluation beside the folders of its models: it has their order."""


def read_report(evaluation: Path, run: Path | None) -> ReportData:
    """Reads everything that a page shows; FileNotFoundError if there is nothing."""
    results = read_results(evaluation)
    if run is None and not results:
        raise FileNotFoundError(
            f"{evaluation} holds no {RESULT}, and no run was given: there is nothing to report. "
            "Evaluate a model first: python evaluate.py model=PATH."
        )
    return ReportData(evaluation, None if run is None else read_run(run), results)


def read_results(folder: Path) -> tuple[Evaluated, ...]:
    """Reads the results of an evaluation, models in the order of its last call, then by name."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"There is no folder at {folder}. Give that of an evaluation: python evaluate.py "
            "prints the path of a file in it."
        )
    found = [_evaluated(path) for path in sorted(folder.rglob(RESULT))]
    order: list[str] = []
    if (folder / ORDER).is_file():
        order = [str(result["model"]) for result in _json(folder / ORDER)]
    places = {name: place for place, name in reversed(list(enumerate(order)))}
    return tuple(sorted(found, key=lambda result: places.get(result.model, len(order))))


def read_run(folder: Path) -> Run:
    """Reads the folder of a training run, where files may be missing."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"There is no folder at {folder}. Give that of a run: outputs/<experiment>/<time>."
        )
    summary, metrics = folder / "summary.json", folder / "metrics.csv"
    # hparams.yaml has all references resolved; Hydra's own copy is what was composed
    resolved, composed = folder / "hparams.yaml", folder / ".hydra" / "config.yaml"
    shown = next((path for path in (resolved, composed) if path.is_file()), None)
    config = "" if shown is None else shown.read_text("utf-8")
    return Run(
        folder,
        _json(summary) if summary.is_file() else {},
        read_curves(metrics) if metrics.is_file() else {},
        _names(config),
        config,
    )


def read_curves(path: Path) -> dict[str, Curve]:
    """Reads the columns of a CSV file of metrics.

    Args:
        path: The file. Cells are empty where nothing was logged at a step; ``nan`` and ``inf`` are
            values that a curve breaks off at. Of a step that was logged again after a resume, the
            last value counts.

    Returns:
        Curves by name, in the order of the header.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        columns: dict[str, dict[float, float]] = {
            name: {} for name in reader.fieldnames or () if name not in ("step", "epoch")
        }
        for row in reader:
            step = _number(row.get("step"))
            if step is None or not math.isfinite(step):
                continue
            for name, points in columns.items():
                value = _number(row[name])
                if value is not None:
                    points[step] = value if math.isfinite(value) else math.nan
    return {
        name: Curve(name, tuple(sorted(points.items())))
        for name, points in columns.items()
        if points
    }


def scored_documents(result: Evaluated, most: int) -> tuple[ScoredDocument, ...]:
    """The first documents that a result of `compare` keeps chunk by chunk."""
    return tuple(
        ScoredDocument(
            str(sample["document"]),
            tuple(
                Chunk(chunk["text"], float(chunk["student"]), float(chunk["teacher"]))
                for chunk in sample["chunks"]
            ),
        )
        for sample in result.samples[:most]
        if "chunks" in sample
    )


def _evaluated(path: Path) -> Evaluated:
    plain = _json(path)
    missing = [name for name in ("model", "harness", "figures") if name not in plain]
    if missing:
        raise ValueError(
            f"{path} has no {', '.join(missing)}: expected the result of python evaluate.py. Move "
            "the file away, or call evaluate.py again with this folder as paths.output_dir."
        )
    return Evaluated(
        model=str(plain["model"]),
        harness=str(plain["harness"]),
        described=str(plain.get("described", "")),
        figures=_figures(plain["figures"]),
        groups={
            # a part without figures has no row
            by: {str(value): _figures(own) for value, own in members.items() if own}
            for by, members in plain.get("groups", {}).items()
        },
        samples=tuple(plain.get("samples", ())),
        settings=plain.get("settings", {}),
        seed=plain.get("seed"),
        versions=plain.get("versions", {}),
    )


def _figures(plain: Mapping[str, Mapping[str, Any]]) -> dict[str, Figure]:
    return {
        name: Figure(
            math.nan if figure["value"] is None else float(figure["value"]),
            None if figure.get("stderr") is None else float(figure["stderr"]),
            int(figure.get("count") or 0),
            str(figure.get("unit", "")),
            figure.get("lower_is_better"),
        )
        for name, figure in plain.items()
    }


def _names(config: str) -> dict[str, str]:
    try:
        plain = yaml.safe_load(config)
    except yaml.YAMLError:
        # a report without names is better than none
        return {}
    names = {}
    for side in ("student", "teacher", "tokenizer"):
        node = plain.get(side) if isinstance(plain, dict) else None
        name = node.get("name") if isinstance(node, dict) else None
        # a reference that is not resolved says nothing
        if isinstance(name, str) and "${" not in name:
            names[side] = name
    return names


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path} is not JSON ({error}). Move it away, and make it anew with the command that "
            "wrote it."
        ) from error


def _number(cell: str | None) -> float | None:
    """The number in a cell; None for an empty one."""
    if cell is None or not cell.strip():
        return None
    try:
        return float(cell)
    except ValueError:
        return math.nan
