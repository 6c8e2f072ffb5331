"""Windows that are paired once and kept on disk, for as long as nothing changes what they are."""

import json
import logging
import pickle
from bisect import bisect_right
from collections.abc import Sequence
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from rich.console import Console
from rich.progress import track
from torch.utils.data import DataLoader, Dataset

from alm_lightning.corpus.document import BadDocument
from alm_lightning.corpus.document_store import roles_and_contents
from alm_lightning.corpus.sources.source import AnyDocument
from alm_lightning.data.examples import InSteps, no_window
from alm_lightning.data.joint import JointPairing
from alm_lightning.data.pairing import Pairing
from alm_lightning.data.shards import Shard, is_finished, verify, write_shard
from alm_lightning.data.windows import Window

log = logging.getLogger(__name__)

PAIRING_VERSION = 2
"""To be raised with every change of what pairing makes of a document, or a cache would hide it."""

SHARD_DOCUMENTS = 256
"""Documents of a shard at least: what a run that is killed loses of each worker's work."""

MOST_SHARDS = 500
"""More would be more files than a process may have open."""


class CachedWindows(InSteps):
    """The windows of each document, paired by several processes before the run, and kept.

    The next run with the same documents, tokenizers, alignment, lengths and chat settings finds
    them; any change leads to another folder. A run that is stopped goes on where it was.
    """

    def __init__(
        self,
        documents: Sequence[AnyDocument],
        *,
        pairing: Pairing,
        folder: str,
        windows_per_document: int | None,
        num_workers: int,
    ):
        """Pairs what is not there yet, and maps all of it.

        Args:
            documents: The documents.
            pairing: How a document becomes windows.
            folder: Where caches lie, each in a folder of its own; ``~`` is spelled out.
            windows_per_document: The most windows of a document, from its start; None for all.
            num_workers: Processes that pair; 0 does it in this one.
        """
        key = cache_key(documents, pairing, windows_per_document)
        name = blake2b(key.encode("utf-8"), digest_size=16).hexdigest()
        self.folder = Path(folder).expanduser() / name
        self.folder.mkdir(parents=True, exist_ok=True)
        writer = _ShardWriter(documents, pairing, self.folder, windows_per_document)
        # of several runs, or the ranks of one, the first pairs and the others wait
        with FileLock(self.folder.with_suffix(".lock")):
            (self.folder / "key.json").write_text(key, encoding="utf-8")
            _write_missing(writer, num_workers)
            notes = [verify(path) for path in writer.paths]
        for note in notes:
            for message, kind in note.bad:
                pairing.on_bad(BadDocument(message, kind=kind))
        views = len(pairing.each) if isinstance(pairing, JointPairing) else 1
        self.shards = [Shard(path, views) for path in writer.paths]
        self._starts = np.cumsum([0, *(note.windows for note in notes)]).tolist()
        if not len(self):
            raise no_window(len(documents))
        log.info("%s windows of %s documents in %s", len(self), len(documents), self.folder)

    def __len__(self) -> int:
        """Number of windows."""
        return self._starts[-1]

    def __getitem__(self, index: int) -> Window:
        """One window, by its place in the corpus."""
        shard = bisect_right(self._starts, index) - 1
        return self.shards[shard][index - self._starts[shard]]


class _ShardWriter(Dataset[list[tuple[str, str]]]):
    """Shards by number; asking for one pairs its documents and writes it."""

    def __init__(
        self,
        documents: Sequence[AnyDocument],
        pairing: Pairing,
        folder: Path,
        windows_per_document: int | None,
    ):
        self.documents, self.pairing, self.at_most = documents, pairing, windows_per_document
        self.size = max(SHARD_DOCUMENTS, -(-len(documents) // MOST_SHARDS))
        num_shards = -(-len(documents) // self.size)
        self.paths = [folder / f"{number:05d}.arrow" for number in range(num_shards)]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> list[tuple[str, str]]:
        found: list[Window] = []
        bad: list[tuple[str, str]] = []
        first = number * self.size
        chosen = range(first, min(first + self.size, len(self.documents)))
        for index in chosen:
            try:
                found += self.pairing.pair(self.documents[index], self.at_most)
            except BadDocument as error:
                # the main process raises it: it knows what to advise
                bad.append((str(error), error.kind))
        write_shard(self.paths[number], found, num_documents=len(chosen), bad=bad)
        return bad


def _write_missing(writer: _ShardWriter, num_workers: int) -> None:
    missing = [number for number, path in enumerate(writer.paths) if not is_finished(path)]
    if not missing:
        return
    folder = writer.paths[0].parent
    for left in folder.glob("*.unfinished"):
        # of a run that was killed: nobody else writes here while this process holds the lock
        left.unlink()
    log.info("pairing %d of %d shards into %s", len(missing), len(writer), folder)
    loader = DataLoader(
        writer,
        batch_size=None,
        sampler=missing,
        num_workers=min(num_workers, len(missing)),
        # a loader draws a seed: from torch's own generator, a run would begin with other numbers
        # than the next one, which finds the windows
        generator=torch.Generator(),
    )
    console = Console(stderr=True)
    for bad in track(loader, "pairing", total=len(missing), console=console, transient=True):
        for message, kind in bad:
            writer.pairing.on_bad(BadDocument(message, kind=kind))


def cache_key(
    documents: Sequence[AnyDocument], pairing: Pairing, windows_per_document: int | None
) -> str:
    """Everything that changes what pairing makes of documents, as JSON that a person can read.

    Args:
        documents: The documents, all of which are read.
        pairing: How a document becomes windows.
        windows_per_document: The most windows of a document; None for all.

    Returns:
        The same text for the same windows.
    """
    texts = blake2b(digest_size=16)
    for document in documents:
        texts.update(repr(roles_and_contents(document)).encode("utf-8"))
    views = {"student": pairing.student, "teacher": pairing.teacher}
    # fitted statistics and thresholds alike: whatever an alignment goes by is in its pickle
    alignment = blake2b(pickle.dumps(pairing.alignment), digest_size=16).hexdigest()
    key = {
        "version": PAIRING_VERSION,
        "tokenizers": version("tokenizers"),
        "fingerprints": {side: view.fingerprint for side, view in views.items()},
        "templates": {side: view.hf.chat_template for side, view in views.items()},
        # a template writes them by name
        "special_tokens": {side: view.hf.special_tokens_map for side, view in views.items()},
        "prepends_bos": {side: view.prepends_bos for side, view in views.items()},
        "alignment": f"{type(pairing.alignment).__qualname__} {alignment}",
        "lengths": [pairing.student_length, pairing.teacher_length],
        "windows_per_document": windows_per_document,
        "cut_bytes": pairing.cut_bytes,
        # documents that they lack are left out
        "scores": None if pairing.scores is None else pairing.scores.identity,
        "chat": vars(pairing.chat),
        "documents": len(documents),
        "texts": texts.hexdigest(),
    }
    if isinstance(pairing, JointPairing):
        key["teachers"] = [json.loads(cache_key([], each, None)) for each in pairing.each]
        key["weights"] = repr(pairing.weights)
        key["shares_chunks"] = pairing.shares_chunks
        groups = repr([document.group for document in documents]).encode("utf-8")
        key["groups"] = blake2b(groups, digest_size=16).hexdigest()
    return json.dumps(key, indent=2, sort_keys=True)
