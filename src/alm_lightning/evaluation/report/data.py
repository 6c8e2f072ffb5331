"""What a report is made of: a run, and results of evaluations, as plain records."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from alm_lightning.evaluation.harness import Figure

Groups = Mapping[str, Mapping[str, Mapping[str, Figure]]]
"""What figures are split by, its values, and the figures of each."""


@dataclass(frozen=True)
class Curve:
    """What a run logged under one name.

    Attributes:
        name: As in the header of metrics.csv: ``train/alm``.
        points: Step and value, in the order of steps; NaN where the value was no number.
    """

    name: str
    points: tuple[tuple[float, float], ...]

    @property
    def last(self) -> float:
        """The last value; NaN if that was no number."""
        return self.points[-1][1]


@dataclass(frozen=True)
class Run:
    """What a training run left in its folder.

    Attributes:
        folder: The folder.
        summary: What summary.json holds; nothing of a run that has not ended.
        curves: Curves by name, the empty ones left out.
        names: What ``student``, ``teacher`` and ``tokenizer`` are called, as far as it is known.
        config: Its configuration, as text.
    """

    folder: Path
    summary: Mapping[str, object]
    curves: Mapping[str, Curve]
    names: Mapping[str, str]
    config: str


@dataclass(frozen=True)
class Evaluated:
    """What one result.json holds: a model under a harness.

    Attributes:
        model: What tables call the model.
        harness: Name of the harness.
        described: Where the model comes from, in words.
        figures: Main figures by name.
        groups: Figures of parts.
        samples: Texts to read.
        settings: What the records depend on.
        seed: Of sampled text.
        versions: Installed versions.
    """

    model: str
    harness: str
    described: str
    figures: Mapping[str, Figure]
    groups: Groups = field(default_factory=dict)
    samples: Sequence[Mapping[str, object]] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    seed: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Chunk:
    """A chunk of a held-out document.

    Attributes:
        text: Its text.
        student: Its log-likelihood under the student, nats.
        teacher: The same under the teacher.
    """

    text: str
    student: float
    teacher: float

    @property
    def difference(self) -> float:
        """Student minus teacher, nats: below 0 where the student finds it less likely."""
        return self.student - self.teacher


@dataclass(frozen=True)
class ShownDocument:
    """The first chunks of a held-out document.

    Attributes:
        name: What the document is called.
        chunks: Its chunks, in order.
    """

    name: str
    chunks: tuple[Chunk, ...]

    @property
    def mean_difference(self) -> float:
        """Mean of ``|log p_T - log p_S|`` over its chunks, nats; NaN without chunks."""
        differences = [abs(chunk.difference) for chunk in self.chunks]
        return sum(differences) / len(differences) if differences else math.nan


@dataclass(frozen=True)
class ReportData:
    """Everything that a page shows.

    Attributes:
        folder: The folder of the evaluation.
        run: The run that made the model, if it is known.
        results: Results, in the order of models, then of harnesses.
    """

    folder: Path
    run: Run | None
    results: tuple[Evaluated, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the evaluated models, in the order to show them."""
        return tuple(dict.fromkeys(result.model for result in self.results))

    @property
    def harnesses(self) -> tuple[str, ...]:
        """Names of harnesses with results."""
        return tuple(dict.fromkeys(result.harness for result in self.results))

    def of(self, harness: str) -> tuple[Evaluated, ...]:
        """The results of a harness.

        Args:
            harness: Its name.

        Returns:
            One a model.
        """
        return tuple(result for result in self.results if result.harness == harness)
