"""What a report begins with: which models, and what was done, in words."""

from collections.abc import Iterator, Mapping
from html import escape

from alm_lightning.evaluation.report.data import ReportData, Run
from alm_lightning.show.numbers import percent, short


def title(data: ReportData) -> str:
    """What the page is called.

    Args:
        data: The report.

    Returns:
        The experiment of the run, or the models that were evaluated.
    """
    if data.run is not None:
        return str(data.run.summary.get("experiment") or data.run.folder.name)
    return f"Evaluation of {', '.join(data.models)}"


def names(data: ReportData) -> dict[str, str]:
    """Who takes part.

    Args:
        data: The report.

    Returns:
        Names by part.
    """
    found: dict[str, str] = {}
    if data.run is not None:
        found |= data.run.names
        found["run"] = str(data.run.folder)
    if data.models:
        found["evaluated"] = ", ".join(data.models)
    return found


def told(run: Run) -> Iterator[str]:
    """What was done, in sentences.

    Args:
        run: The run.

    Yields:
        Lines of HTML, of what the summary has.
    """
    summary = run.summary
    seconds = _mapping(summary.get("seconds"))
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
        line += f", peak memory {short(summary['peak_memory_bytes'] / 2**30)} GiB"
    yield escape(f"{line}.")
    chunks = _mapping(summary.get("chunks"))
    if {"count", "bytes_per_chunk", "coverage"} <= set(chunks):
        sides = ", ".join(
            f"{short(float(chunks[f'{side}_tokens_per_chunk']))} tokens of the {side}"
            for side in ("student", "teacher")
            if f"{side}_tokens_per_chunk" in chunks
        )
        yield escape(
            f"Held-out text of the training domain: {chunks['count']:,} chunks of "
            f"{short(float(chunks['bytes_per_chunk']))} bytes{f' ({sides})' if sides else ''}; "
            f"{percent(float(chunks['coverage']))} of all bytes lie in chunks."
        )


def duration(seconds: float) -> str:
    """A time as people say it.

    Args:
        seconds: The time.

    Returns:
        Seconds below two minutes, minutes below two hours, hours from there.

    Example:
        >>> duration(95.0), duration(691.0), duration(9000.0)
        ('95 s', '11.5 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
