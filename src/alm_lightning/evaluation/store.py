"""Records of an evaluation on disk: written as they are made, read again to go on."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from alm_lightning.evaluation.harness import Harness, Record, Result
from alm_lightning.evaluation.subject import Subject

RECORDS, SETTINGS, RESULT = "records.jsonl", "settings.json", "result.json"


class Store:
    """The folder of one model under one harness."""

    def __init__(self, folder: Path, settings: Mapping[str, object]):
        """Opens the folder, or makes it.

        Args:
            folder: Where records lie, or are to lie.
            settings: Everything that records depend on, as JSON has it.
        """
        self.folder = folder
        self.settings = json.loads(json.dumps(settings))
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / SETTINGS
        if path.is_file():
            _check_same(json.loads(path.read_text("utf-8")), self.settings, folder)
        else:
            path.write_text(json.dumps(self.settings, indent=2, ensure_ascii=False), "utf-8")
        self.records = _read(folder / RECORDS)

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Keys without a record, in their order.

        Args:
            keys: Of all items.

        Returns:
            Those that are still to be scored.
        """
        return [key for key in keys if key not in self.records]

    def add(
        self, harness: Harness, subject: Subject, keys: Sequence[str]
    ) -> Iterator[tuple[str, Record]]:
        """Scores items, and writes each record down before the next.

        Args:
            harness: What scores them.
            subject: The model.
            keys: Of the items that have no record yet.

        Yields:
            Key and record.
        """
        with (self.folder / RECORDS).open("a", encoding="utf-8") as file:
            for key, record in harness.records(subject, keys):
                # no number of JSON is NaN, and a figure of one would be no figure
                line = json.dumps({"key": key, **record}, ensure_ascii=False, allow_nan=False)
                file.write(line + "\n")
                file.flush()
                self.records[key] = record
                yield key, record

    def finish(
        self, harness: Harness, keys: Sequence[str], about: Mapping[str, object]
    ) -> dict[str, object]:
        """Makes the figures, and writes them down.

        Args:
            harness: What makes them.
            keys: Of all items; records of others (of a corpus that has changed) are left out.
            about: What else belongs to the result: names, seed, versions.

        Returns:
            What the file holds.
        """
        result = harness.result({key: self.records[key] for key in keys})
        plain = {**about, **as_plain(result), "settings": self.settings}
        path = self.folder / RESULT
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(plain, indent=2, ensure_ascii=False) + "\n", "utf-8")
        # nothing is lost: the records that it is made of stay
        partial.replace(path)
        return plain


def as_plain(result: Result) -> dict[str, object]:
    """A result as JSON has it.

    Args:
        result: Figures, groups and samples.

    Returns:
        Plain values.
    """
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
    whole = path.read_bytes()
    # a process that was killed may have left half a line
    kept = whole[: whole.rfind(b"\n") + 1]
    if kept != whole:
        path.write_bytes(kept)
    records = {}
    # bytes: Unicode has more ends of lines than a file of JSON lines
    for line in kept.splitlines():
        record = json.loads(line)
        records[record.pop("key")] = record
    return records


def _check_same(old: Mapping[str, object], new: Mapping[str, object], folder: Path) -> None:
    different = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
    if different:
        told = "; ".join(f"{key}: {old.get(key)!r}, now {new.get(key)!r}" for key in different)
        raise ValueError(
            f"{folder} holds records of an evaluation with other settings ({told}). Give another "
            "paths.output_dir, or the settings that it was made with."
        )
