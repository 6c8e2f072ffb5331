"""What a suite of measurements is: items with keys, a record for each, and figures of them all.

A record is written as soon as it is made, so an evaluation that was stopped continues where it
was: only the items without a record are scored.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from alm_lightning.evaluation.evaluated_model import EvaluatedModel
from alm_lightning.show.numbers import Figure as Figure

Record = dict[str, Any]
"""The result of one item, as JSON: numbers from which figures are computed exactly."""


@dataclass(frozen=True)
class Result:
    """The result of a harness for a model.

    Attributes:
        figures: The main figures by name, in the order to show them.
        groups: More figures, by what they are split by (``phenomenon``, ``lang``) and its values.
        samples: Texts to read: prompts with what the model wrote.
        chats: Messages of each chat that the model has answered to the end: to train others on.
    """

    figures: Mapping[str, Figure]
    groups: Mapping[str, Mapping[str, Mapping[str, Figure]]] = field(default_factory=dict)
    samples: Sequence[Mapping[str, object]] = ()
    chats: Sequence[Sequence[Mapping[str, str]]] = ()


def chats_of(
    answers: Iterable[tuple[str | Sequence[Mapping[str, str]], str, bool]],
) -> list[list[Mapping[str, str]]]:
    """Chats with their answers, for `Result.chats`.

    Args:
        answers: For each a prompt, the answer, and whether that ended by itself.

    Returns:
        Those that were asked as chats and whose answers ended, and say something.
    """
    return [
        [*prompt, {"role": "assistant", "content": answer}]
        for prompt, answer, stopped in answers
        if not isinstance(prompt, str) and stopped and answer.strip()
    ]


def grouped(records: Mapping[str, Record], by: str) -> dict[str, list[Record]]:
    """Records by one of their values, in alphabetical order, without those where it is None."""
    groups: dict[str, list[Record]] = {}
    for record in records.values():
        if record[by] is not None:
            groups.setdefault(str(record[by]), []).append(record)
    return dict(sorted(groups.items()))


@runtime_checkable
class Harness(Protocol):
    """A suite of measurements. Plain classes, built from a file of conf/harness/."""

    def prepare(self) -> Sequence[str]:
        """Reads and checks what is to be scored, before a model is loaded.

        Returns the keys of the items, each once, and the same at every call.
        """
        ...

    def records(
        self, evaluated: EvaluatedModel, keys: Sequence[str]
    ) -> Iterator[tuple[str, Record]]:
        """Scores the items of these keys, in any order, and yields each when it is done."""
        ...

    def result(self, records: Mapping[str, Record]) -> Result:
        """Figures of all records, whatever run of the program they are from."""
        ...


@runtime_checkable
class HasBasis(Protocol):
    """A harness whose records depend on more than its settings, its items and the model."""

    def basis(self, name: str, run: Path | None) -> Mapping[str, object]:
        """What that is, as JSON; `prepare` was called before.

        Hashes rather than contents, since it is compared when an evaluation continues. A model that
        can't be evaluated in this way is refused here, before any other is scored.
        """
        ...
