"""Texts to read: continuations by student and teacher, and what other harnesses kept."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from alm_lightning.evaluation.report.data import ReportData
from alm_lightning.evaluation.report.rows import breakable

SIDES = {"teacher": "teacher", "student": "student", "text": "what the document says"}
"""Keys of a run's samples, and what they are called."""
MOST = 5
"""Samples of a model under a harness that are shown."""
MOST_CHARACTERS = 2000
"""Of one text of a sample."""


def continuations(summary: Mapping[str, object]) -> str:
    """What student and teacher write after held-out prompts.

    Args:
        summary: What summary.json of a run holds.

    Returns:
        HTML; nothing if there are none.
    """
    samples = summary.get("samples")
    if not isinstance(samples, Sequence):
        return ""
    return "".join(_continuation(sample) for sample in samples)


def other_samples(data: ReportData) -> str:
    """Samples of harnesses that keep texts: what was asked, and what a model wrote.

    Args:
        data: The report.

    Returns:
        HTML; nothing if there are none.
    """
    return "".join(_others(data))


def _continuation(sample: Mapping[str, object]) -> str:
    said = "".join(
        f"<div><h4>{label}</h4>{_text(sample[key])}</div>"
        for key, label in SIDES.items()
        if key in sample
    )
    title = escape(str(sample.get("document", "held-out text")))
    return (
        f'<article class="sample"><h3>{title}</h3><div class="prompt"><h4>prompt</h4>'
        f'{_text(sample.get("prompt", ""))}</div><div class="said">{said}</div></article>\n'
    )


def _others(data: ReportData) -> Iterator[str]:
    for result in data.results:
        samples = [sample for sample in result.samples if "chunks" not in sample][:MOST]
        if not samples:
            continue
        yield f"<h3>{escape(result.harness)}: {breakable(result.model)}</h3>"
        for place, sample in enumerate(samples):
            fields = "".join(
                f"<div><h4>{escape(str(key).replace('_', ' '))}</h4>{_text(value)}</div>"
                for key, value in sample.items()
            )
            opened = " open" if place == 0 else ""
            yield (
                f"<details{opened}><summary>sample {place + 1}</summary>"
                f'<div class="said">{fields}</div></details>\n'
            )


def _text(value: object) -> str:
    text = str(value)
    # a runaway generation would bury the rest of the page
    left = len(text) - MOST_CHARACTERS
    more = f'<p class="how">{left:,} more characters are not shown.</p>' if left > 0 else ""
    return f'<blockquote dir="auto">{escape(text[:MOST_CHARACTERS])}</blockquote>{more}'
