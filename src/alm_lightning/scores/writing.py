"""Writes a store: the sequences of a corpus, read by a teacher, shard by shard."""

import logging
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from jaxtyping import Int

from alm_lightning.corpus.sources.source import AnyDocument
from alm_lightning.data.arrow_files import note_path, write_note
from alm_lightning.data.pairing import Pairing
from alm_lightning.data.rows import SpecialIds
from alm_lightning.scores.manifest import (
    MANIFEST,
    PLAN,
    TOKENIZER,
    Manifest,
    ScorePlan,
    differences,
    read_json,
    read_manifest,
    read_plan,
    write_json,
)
from alm_lightning.scores.sequences import SequenceScorer, teacher_ids
from alm_lightning.scores.shards import Scored, write_shard
from alm_lightning.show.progress import with_progress
from alm_lightning.tokenization.load import load_tokenizer
from alm_lightning.tokenization.view import TokenizerView

log = logging.getLogger(__name__)
SHARD_BYTES = 1 << 18
"""Bytes of text of a shard: what a call that is killed loses."""
MOST_SHARDS = 2000
"""A larger corpus has larger shards."""


@dataclass(frozen=True)
class Part:
    """A share of the shards, for several processes or machines that write one store.

    Attributes:
        index: Which one, from 0.
        count: How many there are.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        """Refuses a part that is none.

        Raises:
            ValueError: The index is not below the count.
        """
        if not 0 <= self.index < self.count:
            raise ValueError(
                f"scores.part is {self.index}/{self.count}: expected INDEX/COUNT, an index below "
                "the count, counted from 0, such as 0/4."
            )

    @classmethod
    def of(cls, text: str | None) -> "Part":
        """The part that a text such as ``0/4`` names; all for None."""
        if text is None:
            return cls()
        index, _, count = str(text).partition("/")
        if not (index.isdecimal() and count.isdecimal()):
            raise ValueError(f"scores.part is {text!r}: expected INDEX/COUNT, such as 0/4.")
        return cls(int(index), int(count))


class StoreWriter:
    """Writes what is missing of a store.

    Args:
        folder: The store's; made where it is not there.
        plan: What the scores are.
        documents: The documents.
        pairing: The teacher's tokenizer on both sides: how a document becomes sequences.
        versions: Of the packages, for the manifest.

    Raises:
        FileExistsError: The folder holds another store, or something else.
        ValueError: The teacher's tokenizer can't be kept beside its scores.
    """

    def __init__(
        self,
        folder: Path,
        *,
        plan: ScorePlan,
        documents: Sequence[AnyDocument],
        pairing: Pairing,
        versions: dict[str, str],
    ):
        self.folder, self.plan, self.pairing = folder, plan, pairing
        self.documents, self.versions = documents, versions
        folder.mkdir(parents=True, exist_ok=True)
        with self._lock():
            self._begin()
        self.shares = _shares(documents)
        self.paths = [folder / f"{number:05d}.arrow" for number in range(len(self.shares))]

    def _lock(self) -> FileLock:
        return FileLock(self.folder / "lock")

    def _begin(self) -> None:
        path = self.folder / PLAN
        if path.is_file():
            found = read_plan(path)
            apart = differences(found, self.plan)
            if apart:
                raise FileExistsError(
                    f"{self.folder} holds scores of another kind, and a store is never written "
                    f"over. It has {'; '.join(apart)}. Give another scores.path."
                )
            # as it was begun, so that all of it says the same of itself
            self.plan = found
            return
        shutil.rmtree(self.folder / TOKENIZER, ignore_errors=True)
        for left in self.folder.glob("*.unfinished"):
            # of a call that was killed before it had begun
            left.unlink()
        others = sorted(each.name for each in self.folder.iterdir() if each.name != "lock")
        if others:
            raise FileExistsError(
                f"{self.folder} holds other files ({', '.join(others[:3])}). Give a scores.path "
                "that is empty or does not exist."
            )
        _keep_tokenizer(self.pairing.teacher, self.folder / TOKENIZER)
        write_json(path, self.plan)

    @property
    def missing(self) -> list[int]:
        """Shards that are not written yet."""
        return [n for n, path in enumerate(self.paths) if not note_path(path).is_file()]

    def sequences(self, number: int) -> list[tuple[int, Int[np.ndarray, " _"]]]:
        """The sequences of a shard, the longest first, each with its document's hash.

        Args:
            number: The shard.

        Returns:
            Of each text once.
        """
        special = SpecialIds.of(self.pairing.teacher)
        found: dict[int, Int[np.ndarray, " _"]] = {}
        for index in self.shares[number]:
            # of what is not cut, students may take a shorter start, and never a later part
            at_most = None if self.pairing.cut_bytes is not None else 1
            for window in self.pairing.windows(self.documents[index], at_most):
                found.setdefault(window.document, teacher_ids(window, special))
        return sorted(found.items(), key=lambda item: -len(item[1]))

    def write(self, scorer: SequenceScorer, part: Part) -> Manifest | None:
        """Writes the shards of a part that are missing, and the manifest where all are there.

        Args:
            scorer: The teacher.
            part: The share of the shards to write.

        Returns:
            The manifest; None where other parts are still missing.

        Raises:
            OSError: The store would not fit on the disk.
        """
        own = [n for n in range(len(self.paths)) if n % part.count == part.index]
        missing = [n for n in self.missing if n in set(own)]
        title = "scoring"
        for number in with_progress(missing, title, len(own), len(own) - len(missing)):
            if not note_path(self.paths[number]).is_file():
                self._write_shard(number, scorer)
            if number == missing[0]:
                self._tell(number, len(missing))
        with self._lock():
            return self._finish()

    def _write_shard(self, number: int, scorer: SequenceScorer) -> None:
        before = self.pairing.on_bad.counts()
        items = self.sequences(number)
        after = self.pairing.on_bad.counts()
        scores = scorer.score([ids for _, ids in items])
        rows = [Scored(d, ids, s) for (d, ids), s in zip(items, scores, strict=True)]
        size, digest = write_shard(self.paths[number], rows, self.plan.kinds)
        share = [self.documents[index] for index in self.shares[number]]
        note = {
            "size": size,
            "digest": digest,
            "sequences": len(rows),
            "bad": {kind: count - before.get(kind, 0) for kind, count in after.items()},
            "tokens": sum(len(ids) for _, ids in items),
            "text_bytes": sum(len(document.text.encode("utf-8")) for document in share),
        }
        write_note(self.paths[number], note)

    def _tell(self, number: int, num_missing: int) -> None:
        """What the whole store will take, by its first shard."""
        note = read_json(note_path(self.paths[number]))
        expected = note["size"] * num_missing
        log.info(
            "scores: %.2f bytes a byte of text; about %.1f MB for what is missing",
            note["size"] / max(note["text_bytes"], 1),
            expected / 1e6,
        )
        free = shutil.disk_usage(self.folder).free
        if expected > free:
            raise OSError(
                f"the store would take about {expected / 1e9:.1f} GB more, and {self.folder} has "
                f"{free / 1e9:.1f} GB free. Take fewer scores.kinds, a smaller scores.top, fewer "
                "scores.documents, or a folder on another disk."
            )

    def _finish(self) -> Manifest | None:
        if self.missing:
            log.info(
                "scores: %d of %d shards are still missing", len(self.missing), len(self.paths)
            )
            return None
        if (self.folder / MANIFEST).is_file():
            return read_manifest(self.folder)
        notes = {path.name: read_json(note_path(path)) for path in self.paths}
        manifest = Manifest(
            plan=self.plan,
            shards={name: (note["size"], note["digest"]) for name, note in notes.items()},
            sequences=sum(note["sequences"] for note in notes.values()),
            tokens=sum(note["tokens"] for note in notes.values()),
            text_bytes=sum(note["text_bytes"] for note in notes.values()),
            bad=dict(sum((Counter(note["bad"]) for note in notes.values()), start=Counter())),
            versions=self.versions,
        )
        write_json(self.folder / MANIFEST, manifest)
        return manifest


def _shares(documents: Sequence[AnyDocument]) -> list[range]:
    """Which documents are in each shard."""
    sizes = [len(document.text) for document in documents]
    most = max(SHARD_BYTES, sum(sizes) // MOST_SHARDS)
    found, start, held = [], 0, 0
    for index, size in enumerate(sizes):
        held += size
        if held >= most:
            found.append(range(start, index + 1))
            start, held = index + 1, 0
    if start < len(sizes):
        found.append(range(start, len(sizes)))
    return found


def _keep_tokenizer(view: TokenizerView, folder: Path) -> None:
    view.hf.save_pretrained(folder)
    kept = load_tokenizer(folder)
    same = {
        "tokens": kept.fingerprint == view.fingerprint,
        "special tokens": kept.roles == view.roles,
        "the token before a text": kept.start_id == view.start_id,
        "the chat template": kept.hf.chat_template == view.hf.chat_template,
    }
    lost = [name for name, is_same in same.items() if not is_same]
    if lost:
        shutil.rmtree(folder)
        raise ValueError(
            f"the tokenizer {view.name} can't be kept beside its scores: {', '.join(lost)} would "
            "be others when it is read again. Give the teacher a tokenizer as a folder that "
            "save_pretrained of transformers wrote."
        )
