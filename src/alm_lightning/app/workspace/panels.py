"""Which panels a workspace and a report have: plain records, with the names that runs log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from omegaconf import OmegaConf

from alm_lightning.distillation.data import OTHER, TRAINED

STEP = "trainer/global_step"
"""Lightning's name for the step."""
CRITERION = f"val/{TRAINED}/bits_per_byte_student"
"""What runs are ordered by; less is better."""
SAMPLES = "val/samples"
SETS = {TRAINED: "training domain", OTHER: "other domain"}
SEARCHED = ("budget.learning_rate", "objective.alm.temperature", "budget.steps", "seed")
"""Settings that are drawn against the criterion, where runs have them."""

Kind = Literal["lines", "coordinates", "importance", "table"]


@dataclass(frozen=True)
class Panel:
    """A panel.

    Attributes:
        title: Its heading.
        kind: ``lines`` over steps, parallel ``coordinates``, the ``importance`` of settings for one
            figure, or a ``table`` that runs have logged.
        metrics: Names as runs log them; of coordinates, their last values.
        regex: In place of `metrics`, a pattern of names; W&B takes RE2.
        settings: Keys of the configuration, for coordinates.
    """

    title: str
    kind: Kind = "lines"
    metrics: tuple[str, ...] = ()
    regex: str | None = None
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """Panels under one heading."""

    name: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class View:
    """What a workspace and a report show, alike.

    Attributes:
        project: W&B project.
        entity: User or team; None for the one of the key.
        name: Of the workspace, and title of the report.
        group: Only runs of this group; None for all.
        sections: Panels, in their order.
    """

    project: str
    entity: str | None
    name: str
    group: str | None
    sections: tuple[Section, ...]


def view_of(
    terms: Sequence[str], *, project: str, entity: str | None = None, group: str | None = None
) -> View:
    """The panels that matter for runs of this project.

    Args:
        terms: Terms of the loss, each with a panel of its own.
        project: W&B project.
        entity: User or team; None for the one of the key.
        group: Only runs of this group, such as a sweep; None for all.

    Returns:
        The view.
    """
    losses = [Panel("loss", metrics=("train/loss",))]
    losses += [Panel(term.replace("_", " "), metrics=(f"train/{term}",)) for term in terms]
    steps = [Panel("learning rate", metrics=("train/lr",))]
    steps.append(Panel("norm of the gradient", metrics=("train/gradient_norm",)))
    sections = (
        Section("Bits per byte", tuple(_bits_per_byte())),
        Section("Losses by term", tuple(losses)),
        Section("Balance", (Panel("weight of each term", regex="^train/balance_"), *steps)),
        Section("Chunks", tuple(_chunks())),
        Section("Own answers", tuple(_own_answers())),
        Section("Speed and cost", tuple(_speed())),
        Section("Settings", tuple(_settings())),
        Section("Samples", (Panel("continuations", "table", (SAMPLES,)),)),
    )
    name = f"Distillation: {group}" if group else "Distillation"
    return View(project, entity, name, group, sections)


def known_terms(objectives: Path) -> list[str]:
    """The names of all terms of the loss.

    Args:
        objectives: The folder `conf/objective`.

    Returns:
        Names in the order of the alphabet.
    """
    files = [OmegaConf.load(path) for path in objectives.glob("*.yaml")]
    return sorted({str(key) for file in files for key in file} - {"defaults"})


def _bits_per_byte() -> list[Panel]:
    sides = ("student", "teacher")
    return [
        Panel(label, metrics=tuple(f"val/{name}/bits_per_byte_{side}" for side in sides))
        for name, label in SETS.items()
    ]


def _chunks() -> list[Panel]:
    panels = [
        Panel(f"|log p_T - log p_S| a chunk, {label}", metrics=(f"val/{name}/chunk_difference",))
        for name, label in SETS.items()
    ]
    tokens = tuple(f"val/{TRAINED}/{side}_tokens_per_chunk" for side in ("student", "teacher"))
    panels.append(Panel("bytes a chunk", metrics=(f"val/{TRAINED}/bytes_per_chunk",)))
    panels.append(Panel("tokens a chunk", metrics=tokens))
    panels.append(Panel("share of bytes in chunks", metrics=(f"val/{TRAINED}/coverage",)))
    panels.append(Panel("items of each term in a step", regex="^chunks/weight_"))
    return panels


def _own_answers() -> list[Panel]:
    """Empty for runs without ``on_policy``."""
    names = {
        "answers": "answers in a step",
        "ended": "share of them that ended",
        "tokens": "tokens an answer",
        "unusable": "answers that could not be used",
    }
    return _lines("on_policy", names)


def _speed() -> list[Panel]:
    names = {
        "bytes_per_second": "bytes of text a second",
        "seconds_per_step": "seconds a step",
        "waiting_for_data": "share of the time that waits for data",
        "peak_memory_bytes": "peak memory, bytes",
    }
    cost = {"teacher_tokens": "tokens that the teacher has read"}
    return [*_lines("speed", names), *_lines("train", cost)]


def _lines(group: str, titles: Mapping[str, str]) -> list[Panel]:
    """One panel a metric, from names in a group of metrics to titles."""
    return [Panel(title, metrics=(f"{group}/{name}",)) for name, title in titles.items()]


def _settings() -> list[Panel]:
    return [
        Panel("settings against bits per byte", "coordinates", (CRITERION,), settings=SEARCHED),
        Panel("what matters for bits per byte", "importance", (CRITERION,)),
    ]
