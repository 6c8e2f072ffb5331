"""The page of a report: which parts it has, and which command makes a part that is missing."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from alm_lightning.evaluation.report.curves import curve_blocks
from alm_lightning.evaluation.report.data import ReportData, Run
from alm_lightning.evaluation.report.groups import group_blocks, group_titles, length_charts
from alm_lightning.evaluation.report.reading import read_report, scored_documents
from alm_lightning.evaluation.report.tables import figures_table, headline_table, mapping
from alm_lightning.show.chunks import ScoredDocument, signs
from alm_lightning.show.numbers import MINUS, duration, fixed, gibibytes, percent, short
from alm_lightning.show.page import (
    Block,
    Charts,
    Details,
    Heading,
    Missing,
    Preformatted,
    Quotes,
    Section,
    ShadeLegend,
    Text,
    render_page,
)
from alm_lightning.show.tables import facts

MAX_DOCUMENTS = 10
"""Held-out documents that the chunk viewer shows of a model."""
MAX_SAMPLES = 5
"""Samples of a model under a harness that are shown."""
COMPARE = "harness=compare harness.compare.teacher=TEACHER"
LABELS = {"blimp": "BLiMP by phenomenon", "bits_per_byte": "Bits per byte by locale"}
"""Parts that a page has in any case, and their headings where they are missing."""
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
WRITERS = {"teacher": "teacher", "student": "student", "text": "what the document says"}
"""Keys of a run's samples, and what they are called."""


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
    """The page of a report, as HTML."""
    names: dict[str, str] = {}
    if data.run is not None:
        title = str(data.run.summary.get("experiment") or data.run.folder.name)
        names = {**data.run.names, "run": str(data.run.folder)}
    else:
        title = f"Evaluation of {', '.join(data.models)}"
    if data.models:
        names["evaluated"] = ", ".join(data.models)
    return render_page("report", title=title, names=names, sections=list(_sections(data)))


def _sections(data: ReportData) -> Iterator[Section]:
    yield Section("training", "Before and after training", _before_after(data))
    curves = curve_blocks({} if data.run is None else data.run.curves)
    yield Section(
        "curves",
        "Training curves",
        curves or [_missing_run(data, "There are no training curves: no metrics.csv has values.")],
    )
    yield Section("figures", "Evaluation", _figures(data))
    for harness in dict.fromkeys(("blimp", "bits_per_byte", *data.harnesses)):
        titles = group_titles(data, harness)
        if titles or harness in LABELS:
            yield Section(f"parts-{harness}", *_grouped(data, harness, titles))
    lengths = length_charts(data)
    no_lengths = _missing(data, "No chunks were counted.", COMPARE)
    yield Section("lengths", "Lengths of chunks", [Charts(lengths) if lengths else no_lengths])
    yield Section("chunks", "Chunks of held-out documents", _chunks(data))
    yield Section("samples", "Continuations", list(_samples(data)))
    yield Section("settings", "Settings and versions", list(_settings(data)))


def _before_after(data: ReportData) -> list[Block]:
    if data.run is None:
        return [_missing_run(data, "No training run is known.")]
    table = headline_table(data.run.summary)
    if table is None:
        return [
            _missing_run(
                data, "The run's folder has no summary.json with figures: it has not ended."
            )
        ]
    return [*map(Text, _description(data.run)), table]


def _description(run: Run) -> Iterator[str]:
    """What was done, in sentences, as far as the summary has it."""
    summary = run.summary
    seconds = mapping(summary.get("seconds"))
    line = f"{summary['steps']:,} steps" if "steps" in summary else "Steps"
    if seconds.get("train"):
        line += f" in {duration(float(seconds['train']))}"
    if seconds.get("per_step"):
        line += f" ({short(float(seconds['per_step']))} s a step)"
    terms = [name.removeprefix("train/balance_") for name in run.curves if "train/balance_" in name]
    if terms:
        line += f", objective {' + '.join(terms)}"
    if summary.get("seed") is not None:
        line += f", seed {summary['seed']}"
    if summary.get("peak_memory_bytes"):
        line += f", peak memory {gibibytes(summary['peak_memory_bytes'])}"
    yield f"{line}."
    chunks = mapping(summary.get("chunks"))
    if {"count", "bytes_per_chunk", "coverage"} <= set(chunks):
        sides = ", ".join(
            f"{short(float(chunks[f'{side}_tokens_per_chunk']))} tokens of the {side}"
            for side in ("student", "teacher")
            if f"{side}_tokens_per_chunk" in chunks
        )
        yield (
            f"Held-out text of the training domain: {chunks['count']:,} chunks of "
            f"{short(float(chunks['bytes_per_chunk']))} bytes{f' ({sides})' if sides else ''}; "
            f"{percent(float(chunks['coverage']))} of all bytes are in chunks."
        )


def _figures(data: ReportData) -> list[Block]:
    if not data.results:
        return [_missing(data, "Nothing was evaluated yet.", "harness=[bits_per_byte,blimp]")]
    how = (
        "± one standard error over items (documents, pairs, questions). ↓ lower is better, "
        "↑ higher is better."
    )
    return [Text(how), figures_table(data.results, data.models)]


def _grouped(
    data: ReportData, harness: str, titles: Mapping[str, str]
) -> tuple[str, Sequence[Block]]:
    """Heading and blocks of the figures of a harness by part."""
    if not titles:
        return LABELS[harness], [_missing(data, *WITHOUT_GROUPS[harness])]
    blocks = {by: group_blocks(data, harness, by) for by in titles}
    name = NAMES.get(harness, harness)
    if len(blocks) == 1:
        ((by, own),) = blocks.items()
        # "Bits per byte by locale", not "Bits per byte: bits per byte by locale"
        is_named = titles[by].startswith(harness.replace("_", " "))
        return titles[by].capitalize() if is_named else f"{name}: {titles[by]}", own
    parts = chain.from_iterable([Heading(titles[by]), *own] for by, own in blocks.items())
    return f"{name}, part by part", list(parts)


def _chunks(data: ReportData) -> list[Block]:
    # samples of other harnesses have no chunks
    found = {
        result.model: documents
        for result in data.results
        if (documents := scored_documents(result, MAX_DOCUMENTS))
    }
    if not found:
        return [_missing(data, "No documents were kept chunk by chunk.", COMPARE)]
    how = (
        "The colour of a chunk is the log-likelihood that the student gives it, minus the "
        "teacher's. Point at a chunk, or tap it, for both. "
    )
    blocks: list[Block] = [
        Text(how, signs(chain(*found.values())), "; text in no chunk is not shown."),
        ShadeLegend(),
    ]
    for number, (model, documents) in enumerate(found.items()):
        blocks += [Heading(model)] if len(found) > 1 else []
        blocks += [
            _document(document, is_open=number == place == 0)
            for place, document in enumerate(documents)
        ]
    return blocks


def _document(document: ScoredDocument, *, is_open: bool) -> Details:
    note = (
        f"{len(document.chunks):,} chunks, mean |log p_T {MINUS} log p_S| "
        f"{fixed(document.mean_difference)} nats"
    )
    return Details(document.name, [document], note=note, is_open=is_open)


def _samples(data: ReportData) -> Iterator[Block]:
    """Texts to read: what student and teacher wrote, and the samples of other harnesses."""
    own = None if data.run is None else data.run.summary.get("samples")
    if not isinstance(own, Sequence) or not own:
        yield _missing_run(data, "The run wrote no continuations (sample_prompts).")
        own = ()
    for sample in own:
        yield Heading(str(sample.get("document", "held-out text")))
        texts = {name: str(sample[key]) for key, name in WRITERS.items() if key in sample}
        yield Quotes(texts, above={"prompt": str(sample.get("prompt", ""))})
    for result in data.results:
        others = [sample for sample in result.samples if "chunks" not in sample][:MAX_SAMPLES]
        if others:
            yield Heading(f"{result.harness}: {result.model}")
        for place, sample in enumerate(others):
            texts = {key.replace("_", " "): str(value) for key, value in sample.items()}
            yield Details(f"sample {place + 1}", [Quotes(texts)], is_open=place == 0)


def _settings(data: ReportData) -> Iterator[Block]:
    tables: dict[str, Mapping[str, object]] = {}
    if data.run is not None:
        summary = data.run.summary
        about = {"folder": data.run.folder, "seed": summary.get("seed", "unknown")}
        overrides = " ".join(map(str, summary.get("overrides") or ()))
        tables["Training run"] = about | ({"arguments": overrides} if overrides else {})
        tables["Versions of the run"] = mapping(summary.get("versions"))
    tables["Evaluated models"] = {result.model: result.described for result in data.results}
    versions = [result.versions.items() for result in data.results]
    tables["Versions of the evaluation"] = dict(chain.from_iterable(versions))
    seeds = ", ".join(dict.fromkeys(str(result.seed) for result in data.results))
    tables["Evaluation"] = {"folder": data.folder} | ({"seed": seeds} if seeds else {})
    for caption, values in tables.items():
        if values:
            yield facts(values, caption)
    if data.run is not None and data.run.config:
        yield Details("Configuration of the run", [Preformatted(data.run.config)])
    for result in data.results:
        plain = json.dumps(result.settings, indent=2, ensure_ascii=False)
        yield Details(f"Settings: {result.model}, {result.harness}", [Preformatted(plain)])


def _missing(data: ReportData, what: str, arguments: str) -> Missing:
    """What is missing, and the arguments of evaluate.py that make it."""
    model = "PATH" if data.run is None else shlex.quote(str(data.run.folder))
    return Missing(what, f"python evaluate.py model={model} {arguments} {_folder(data)}")


def _missing_run(data: ReportData, what: str) -> Missing:
    """What is missing of a run, and the command that makes it."""
    if data.run is not None:
        return Missing(what, "python train.py experiment=...")
    command = f"python evaluate.py model=outputs/<experiment>/<time> {_folder(data)}"
    return Missing(f"{what} The model is not in the folder of a run.", command)


def _folder(data: ReportData) -> str:
    # the same folder: only what is missing is scored
    return f"paths.output_dir={shlex.quote(str(data.folder))} report=true"
