"""A report as one self-contained HTML page: no network, no scripts, everything escaped."""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from html import escape
from importlib.resources import files
from itertools import chain
from pathlib import Path
from string import Template

from alm_lightning.evaluation.report import curves, groups, samples, tables, viewer
from alm_lightning.evaluation.report.data import ReportData
from alm_lightning.evaluation.report.headline import names, title, told
from alm_lightning.evaluation.report.missing import missing, missing_run
from alm_lightning.evaluation.report.reading import read_report, shown_documents
from alm_lightning.evaluation.report.rows import breakable

ROOM = files("alm_lightning.evaluation.report")
MOST_DOCUMENTS = 10
"""Held-out documents that the chunk viewer shows of a model."""
COMPARE = "harness=compare harness.compare.teacher=TEACHER"
LABELS = {"blimp": "BLiMP by phenomenon", "bits_per_byte": "Bits per byte by locale"}
"""Parts that a page has in any case, and what they are called where they are missing."""
WITHOUT_GROUPS = {
    "blimp": (
        "There are no figures of BLiMP.",
        "harness=blimp harness.blimp.path=blimp.jsonl.gz",
    ),
    "bits_per_byte": (
        "There are no bits per byte by locale, or by any other column of a corpus.",
        "corpus=jsonl corpus.source.path=FILE corpus.source.group_column=COLUMN",
    ),
}
NAMES = {"blimp": "BLiMP", "compare": "Student beside teacher", "bits_per_byte": "Bits per byte"}


def write_report(path: Path, *, evaluation: Path, run: Path | None) -> Path:
    """Writes the page of an evaluation.

    Args:
        path: A file that does not exist yet.
        evaluation: The folder of an evaluation: ``<model>/<harness>/result.json``.
        run: The folder of the run that made the model; None if there is none.

    Returns:
        The path.

    Raises:
        FileExistsError: The file exists.
    """
    if path.exists():
        raise FileExistsError(
            f"{path} exists, and is not written over. Move it away, or give another path."
        )
    html = report_page(read_report(evaluation, run))
    path.parent.mkdir(parents=True, exist_ok=True)
    # a surrogate that JSON let through is shown as '?': no reason to have no page
    with path.open("xb") as file:
        file.write(html.encode("utf-8", errors="replace"))
    return path


def report_page(data: ReportData) -> str:
    """The page of a report.

    Args:
        data: What it shows.

    Returns:
        HTML. What the browser may load is limited to what stands in it.
    """
    style = ROOM.joinpath("page.css").read_text("utf-8")
    parts = list(_sections(data))
    return Template(ROOM.joinpath("page.html").read_text("utf-8")).substitute(
        style_hash="sha256-"
        + base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode(),
        style=style,
        title=escape(title(data)),
        names="".join(
            f"<div><dt>{escape(name)}</dt><dd>{breakable(value)}</dd></div>"
            for name, value in names(data).items()
        ),
        links="".join(
            f'<li><a href="#{anchor}">{escape(heading)}</a></li>' for anchor, heading, _ in parts
        ),
        sections="\n".join(
            f'<section aria-labelledby="{anchor}">\n<h2 id="{anchor}">{escape(heading)}</h2>\n'
            f"{body}\n</section>"
            for anchor, heading, body in parts
        ),
    )


def _sections(data: ReportData) -> Iterator[tuple[str, str, str]]:
    """Anchor, heading and body of each part."""
    yield "training", "Before and after training", _before_after(data)
    yield "curves", "Training curves", _curves(data)
    yield "figures", "Evaluation", _figures(data)
    for harness in dict.fromkeys(("blimp", "bits_per_byte", *data.harnesses)):
        titles = groups.group_titles(data, harness)
        if titles or harness in LABELS:
            yield f"parts-{escape(harness)}", *_grouped(data, harness, titles)
    yield "lengths", "Lengths of chunks", _lengths(data)
    yield "chunks", "Chunks of held-out documents", _chunks(data)
    yield "samples", "Continuations", _samples(data)
    yield "settings", "Settings and versions", _settings(data)


def _before_after(data: ReportData) -> str:
    if data.run is None:
        return missing_run(data, "No training run is known.")
    table = tables.headline_table(data.run.summary)
    if not table:
        return missing_run(
            data, "The run's folder has no summary.json with figures: it has not ended."
        )
    lines = "".join(f'<p class="how">{line}</p>' for line in told(data.run))
    return lines + f'<div class="wide">{table}</div>'


def _curves(data: ReportData) -> str:
    found = {} if data.run is None else data.run.curves
    losses, heldout = curves.loss_charts(found), curves.heldout_charts(found)
    if not losses and not heldout:
        return missing_run(data, "There are no training curves: no metrics.csv has values.")
    html = curves.note(found)
    html += f'<div class="charts">{losses}</div>' if losses else ""
    html += f'<h3>Held-out text</h3><div class="charts">{heldout}</div>' if heldout else ""
    aside = curves.side_charts(found)
    if aside:
        html += (
            "<details><summary>Learning rate, gradients, speed</summary>"
            f'<div class="charts">{aside}</div></details>'
        )
    return html


def _figures(data: ReportData) -> str:
    if not data.results:
        return missing(data, "Nothing was evaluated yet.", "harness=[bits_per_byte,blimp]")
    return (
        '<p class="how">± one standard error over items (documents, pairs, questions). ↓ lower is '
        "better, ↑ higher is better.</p>"
        f'<div class="wide">{tables.figures_table(data.results, data.models)}</div>'
    )


def _grouped(data: ReportData, harness: str, titles: Mapping[str, str]) -> tuple[str, str]:
    """Heading and body of the figures of a harness by part."""
    if not titles:
        return LABELS[harness], missing(data, *WITHOUT_GROUPS[harness])
    charts = {by: groups.group_chart(data, harness, by) for by in titles}
    if len(charts) == 1:
        (by,) = charts
        title = titles[by]
        # bits per byte of the harness of that name: said once
        is_told = title.startswith(harness.replace("_", " "))
        return title.capitalize() if is_told else f"{NAMES.get(harness, harness)}: {title}", charts[
            by
        ]
    body = "".join(f"<h3>{escape(titles[by])}</h3>{chart}" for by, chart in charts.items())
    return f"{NAMES.get(harness, harness)}, part by part", body


def _lengths(data: ReportData) -> str:
    charts = groups.length_charts(data)
    if not charts:
        return missing(data, "No chunks were counted.", COMPARE)
    return f'<div class="charts">{charts}</div>'


def _chunks(data: ReportData) -> str:
    # other harnesses keep other samples
    results = [result for result in data.results if shown_documents(result, 1)]
    found = {result.model: shown_documents(result, MOST_DOCUMENTS) for result in results}
    if not found:
        return missing(data, "No documents were kept chunk by chunk.", COMPARE)
    parts = [
        '<p class="how">The colour of a chunk is the log-likelihood that the student gives it, '
        "minus the teacher's. Point at a chunk, or tap it, for both. "
        f"{viewer.signs(chain(*found.values()))}; text in no chunk is not shown.</p>",
        viewer.scale_legend(),
    ]
    for place, (model, documents) in enumerate(found.items()):
        parts.append(f"<h3>{breakable(model)}</h3>" if len(found) > 1 else "")
        parts.append(viewer.viewer(documents, is_open=place == 0))
    return "".join(parts)


def _samples(data: ReportData) -> str:
    own = "" if data.run is None else samples.continuations(data.run.summary)
    own = own or missing_run(data, "The run wrote no continuations (sample_prompts).")
    return own + samples.other_samples(data)


def _settings(data: ReportData) -> str:
    parts = []
    if data.run is not None:
        summary = data.run.summary
        overrides = " ".join(map(str, summary.get("overrides") or ()))
        facts = {"folder": data.run.folder, "seed": summary.get("seed", "unknown")}
        facts |= {"arguments": overrides} if overrides else {}
        parts.append(tables.facts_table(facts, "Training run"))
        parts.append(tables.facts_table(summary.get("versions") or {}, "Versions of the run"))
        if data.run.config:
            parts.append(_raw("Configuration of the run", data.run.config))
    versions = {}
    for result in data.results:
        versions |= result.versions
    seeds = ", ".join(dict.fromkeys(str(result.seed) for result in data.results))
    models = {result.model: result.described for result in data.results}
    parts.append(tables.facts_table(models, "Evaluated models"))
    parts.append(tables.facts_table(versions, "Versions of the evaluation"))
    about = {"folder": data.folder} | ({"seed": seeds} if seeds else {})
    parts.append(tables.facts_table(about, "Evaluation"))
    for result in data.results:
        plain = json.dumps(result.settings, indent=2, ensure_ascii=False)
        parts.append(_raw(f"Settings: {result.model}, {result.harness}", plain))
    return "".join(parts)


def _raw(heading: str, text: str) -> str:
    return f"<details><summary>{escape(heading)}</summary><pre>{escape(text)}</pre></details>\n"
