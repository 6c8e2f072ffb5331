"""The records of a report: a run, and the results of evaluations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alm_lightning.show.numbers import Figure

Groups = Mapping[str, Mapping[str, Mapping[str, Figure]]]
"""What figures are split by, its values, and the figures of each."""


@dataclass(frozen=True)
class Curve:
    """The values that a run logged under one name.

    Attributes:
        name: As in the header of metrics.csv: ``train/alm``.
        points: Step and value, in the order of steps; NaN where the value is not finite.
    """

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Run:
    """A training run, as far as its folder has it.

    Attributes:
        folder: The folder.
        summary: What summary.json holds; nothing of a run that has not ended.
        curves: Curves by name, the empty ones left out.
        names: What ``student``, ``teacher`` and ``tokenizer`` are called, as far as it is known.
        config: Its configuration, as text.
    """

    folder: Path
    summary: Mapping[str, Any]
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
    samples: Sequence[Mapping[str, Any]] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


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
        """The results of a harness, one a model."""
        return tuple(result for result in self.results if result.harness == harness)
