"""Records of an evaluation on disk: written as they are made, read again to continue."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from alm_lightning.evaluation.evaluated_model import EvaluatedModel
from alm_lightning.evaluation.harness import Harness, Record, Result
from alm_lightning.renamed import with_current_names

log = logging.getLogger(__name__)

RECORDS, SETTINGS, RESULT = "records.jsonl", "settings.json", "result.json"
CHATS = "chats.jsonl"
"""What a model has answered, one ``{"messages": [...]}`` a line, as `corpus=messages` reads it."""
ABSENT = "not there"
"""Stands in a message for a setting that one side lacks."""
MAX_NAMED = 8
"""Settings that a refusal names."""


class Store:
    """The folder of one model under one harness.

    Args:
        folder: Where records are, or will be.
        settings: Everything that records depend on, as JSON.
    """

    def __init__(self, folder: Path, settings: Mapping[str, object]):
        self.folder = folder
        self.settings = json.loads(json.dumps(settings))
        self.records = _read(folder / RECORDS)
        # without records, other settings conflict with nothing
        if self.records:
            before = json.loads((folder / SETTINGS).read_text("utf-8"))
            _check_same(with_current_names(before), self.settings, folder)

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Keys without a record, in their order."""
        return [key for key in keys if key not in self.records]

    def add(
        self, harness: Harness, evaluated: EvaluatedModel, keys: Sequence[str]
    ) -> Iterator[tuple[str, Record]]:
        """Scores items, and writes each record down before the next."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.records:
            text = json.dumps(self.settings, indent=2, ensure_ascii=False)
            (self.folder / SETTINGS).write_text(text, "utf-8")
        _cut_half_line(self.folder / RECORDS)
        with (self.folder / RECORDS).open("a", encoding="utf-8") as file:
            for key, record in harness.records(evaluated, keys):
                # JSON has no NaN, and no figure can be computed from it
                line = json.dumps({"key": key, **record}, ensure_ascii=False, allow_nan=False)
                file.write(line + "\n")
                file.flush()
                self.records[key] = record
                yield key, record

    def finish(
        self, harness: Harness, keys: Sequence[str], about: Mapping[str, object]
    ) -> dict[str, object]:
        """Makes the figures, and writes them down."""
        result = harness.result({key: self.records[key] for key in keys})
        plain = {**about, **as_plain(result), "settings": self.settings}
        lines = [json.dumps({"messages": chat}, ensure_ascii=False) for chat in result.chats]
        if lines:
            _write(self.folder / CHATS, "\n".join(lines))
            log.info(
                "%s of %s answers ended by themselves: train on them with corpus=messages "
                "corpus.source.path=%s",
                f"{len(lines):,}",
                f"{len(keys):,}",
                self.folder / CHATS,
            )
        _write(self.folder / RESULT, json.dumps(plain, indent=2, ensure_ascii=False))
        return plain


def _write(path: Path, text: str) -> None:
    """In the place of what was there: nothing is lost, since the records it is made of stay."""
    partial = path.with_suffix(".partial")
    partial.write_text(text + "\n", "utf-8")
    partial.replace(path)


def as_plain(result: Result) -> dict[str, object]:
    """A result as plain values for JSON."""
    return {
        "figures": {name: asdict(figure) for name, figure in result.figures.items()},
        "groups": {
            by: {
                value: {name: asdict(figure) for name, figure in figures.items()}
                for value, figures in members.items()
            }
            for by, members in result.groups.items()
        },
        "samples": list(result.samples),
    }


def _read(path: Path) -> dict[str, Record]:
    if not path.is_file():
        return {}
    records = {}
    # bytes: Unicode has more ends of lines than a file of JSON lines
    for line in _whole_lines(path).splitlines():
        record = json.loads(line)
        records[record.pop("key")] = record
    return records


def _whole_lines(path: Path) -> bytes:
    """The content of a file without the half line that a killed process may have left."""
    whole = path.read_bytes()
    return whole[: whole.rfind(b"\n") + 1]


def _cut_half_line(path: Path) -> None:
    if path.is_file():
        kept = _whole_lines(path)
        if len(kept) < path.stat().st_size:
            path.write_bytes(kept)


def _check_same(old: Mapping[str, object], new: Mapping[str, object], folder: Path) -> None:
    sides = dict(_leaves(old)), dict(_leaves(new))
    changes = [
        f"{name}: " + ", now ".join(repr(side[name]) if name in side else ABSENT for side in sides)
        for name in dict.fromkeys([*sides[0], *sides[1]])
        if any(name not in side for side in sides) or sides[0][name] != sides[1][name]
    ]
    if changes:
        more = len(changes) - MAX_NAMED
        rest = f"; and {more} more" if more > 0 else ""
        raise ValueError(
            f"{folder} holds records of an evaluation with other settings "
            f"({'; '.join(changes[:MAX_NAMED])}{rest}). Give another folder (paths.output_dir), or "
            "the settings that it was made with."
        )


def _leaves(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Settings one by one, under names such as ``harness.path``."""
    members: Iterable[tuple[object, object]] = ()
    if isinstance(value, Mapping):
        members = value.items()
    elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
        members = enumerate(value)
    pairs = list(members)
    if not pairs:
        yield name, value
    for key, each in pairs:
        yield from _leaves(each, f"{name}.{key}" if name else str(key))
