"""Reads a store for windows and batches: what `data.scores.WindowScores` asks for."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int

from alm_lightning.corpus.document import BadDocument
from alm_lightning.data.rows import SpecialIds
from alm_lightning.data.scores import ByteShares, ScoredTokens, padded, row_places
from alm_lightning.data.windows import Window
from alm_lightning.scores.kinds import HIDDEN, NEXT_BYTE, TOP_K
from alm_lightning.scores.manifest import TOKENIZER, Manifest, read_manifest
from alm_lightning.scores.sequences import NextBytes, teacher_ids
from alm_lightning.scores.shards import Shard
from alm_lightning.tokenization.load import load_tokenizer
from alm_lightning.tokenization.view import TokenizerView

NOT_SCORED = "not scored"


class StoreReader:
    """A store in use; each process maps its files for itself, when it first needs them.

    Args:
        folder: The store's.

    Raises:
        FileNotFoundError: There is no whole store.
        ValueError: It is damaged.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.manifest: Manifest = read_manifest(folder)
        self.identity = self.manifest.plan.identity
        for name, (size, _) in self.manifest.shards.items():
            path = folder / name
            there = path.stat().st_size if path.is_file() else 0
            if there != size:
                raise ValueError(
                    f"the store of scores is damaged: {path} has {there:,} bytes, and {size:,} "
                    "were written. Restore it from a copy, or score the corpus again."
                )

    def __reduce__(self) -> tuple[type["StoreReader"], tuple[Path]]:
        """Another process opens the store for itself."""
        return StoreReader, (self.folder,)

    @cached_property
    def view(self) -> TokenizerView:
        """The teacher's tokenizer; a ValueError if it is not the one that the scores are of."""
        plan = self.manifest.plan
        view = load_tokenizer(self.folder / TOKENIZER)
        if view.fingerprint != plan.tokenizer:
            raise ValueError(
                f"{self.folder / TOKENIZER} is not the tokenizer that the store's scores are of "
                f"(fingerprint {view.fingerprint}, expected {plan.tokenizer}): it was changed, or "
                "this version of the tokenizers package reads it otherwise."
            )
        return view

    @cached_property
    def _special(self) -> SpecialIds:
        return SpecialIds.of(self.view)

    @cached_property
    def _shards(self) -> list[Shard]:
        kinds = self.manifest.plan.kinds
        return [Shard(self.folder / name, kinds) for name in self.manifest.shards]

    @cached_property
    def _index(self) -> tuple[Int[np.ndarray, " row"], Int[np.ndarray, " row"]]:
        """Hashes of all documents in ascending order, and where each stands among all rows."""
        documents = np.concatenate([shard.documents for shard in self._shards])
        order = np.argsort(documents, kind="stable")
        return documents[order], order

    @cached_property
    def _starts(self) -> Int[np.ndarray, " shard"]:
        """The first row of each shard among all rows, and how many there are."""
        return np.cumsum([0, *map(len, self._shards)])

    def _row(self, document: int) -> tuple[Shard, int] | None:
        documents, order = self._index
        place = int(np.searchsorted(documents, document))
        if place == len(documents) or documents[place] != document:
            return None
        row = int(order[place])
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self._shards[number], row - int(self._starts[number])

    def check(self, window: Window, name: str) -> None:
        """Raises a `BadDocument` where the store lacks a window.

        Args:
            window: The window.
            name: What the error calls its document.
        """
        self._place(window, name)

    def _place(self, window: Window, name: str) -> tuple[Shard, int, int]:
        """Where the scores of a window are, and how many tokens it has."""
        place = self._row(window.document)
        if place is None:
            plan = self.manifest.plan
            raise BadDocument(
                f"{name}: the store {self.folder} has no scores of this text. It was made of "
                f"{', '.join(plan.corpus)}, with windows.cut_bytes="
                f"{'null' if plan.cut_bytes is None else plan.cut_bytes}. Score this corpus, or "
                "take on_bad_document=skip to leave out what the store lacks.",
                kind=NOT_SCORED,
            )
        shard, row = place
        ids, own = shard.ids(row), teacher_ids(window, self._special)
        if len(own) > len(ids) or not np.array_equal(ids[: len(own)], own):
            raise BadDocument(
                f"{name}: the teacher's tokens of this text are others than those that the store "
                f"{self.folder} has scores of: {_apart(own, ids)}. What is trained on may begin "
                "later in the text, as with chat.trained=assistant and a long first message, or "
                "the chat settings are others. Score it with these settings, or take "
                "on_bad_document=skip.",
                kind=NOT_SCORED,
            )
        return shard, row, len(own)

    def batch(self, rows: Sequence[Sequence[Window]], width: int) -> ScoredTokens:
        """The scores of all windows of a batch.

        Args:
            rows: The windows of each row.
            width: Positions of a row.

        Returns:
            The scores.
        """
        kinds = self.manifest.plan.kinds
        places = [self._place(window, "a window") for row in rows for window in row]

        def of(name: str, fill: float | int) -> torch.Tensor:
            values = [shard.numbers(name, row, count) for shard, row, count in places]
            return padded(rows, width, values, fill)

        has_top = TOP_K in kinds
        return ScoredTokens(
            logprobs=of("logprobs", 0.0),
            boundary_logprobs=of("boundary_logprobs", 0.0),
            top_ids=of("top_ids", -1) if has_top else None,
            top_logprobs=of("top_logprobs", -np.inf) if has_top else None,
            hidden=of("hidden", 0.0) if HIDDEN in kinds else None,
            next_bytes=self._next_bytes(rows, width, places) if NEXT_BYTE in kinds else None,
        )

    def _next_bytes(
        self,
        rows: Sequence[Sequence[Window]],
        width: int,
        places: Sequence[tuple[Shard, int, int]],
    ) -> ByteShares:
        firsts = np.full((len(rows), width), -1, np.int64)
        found: list[NextBytes] = []
        before = 0
        for (row, start, _), (shard, index, count) in zip(row_places(rows), places, strict=True):
            # nothing was said of the first token, which nothing predicts
            lengths = np.maximum(self.view.byte_lengths[shard.ids(index)[1:count]], 1)
            ends = lengths.cumsum()
            firsts[row, start + 1 : start + count] = before + ends - lengths
            num_prefixes = int(ends[-1]) if len(ends) else 0
            found.append(shard.next_bytes(index, num_prefixes))
            before += num_prefixes
        sizes = np.concatenate([each.sizes for each in found])
        return ByteShares(
            first=torch.from_numpy(firsts),
            starts=torch.from_numpy(np.concatenate([[0], sizes.cumsum()])),
            symbols=torch.from_numpy(np.concatenate([each.symbols for each in found])),
            shares=torch.from_numpy(np.concatenate([each.shares for each in found])),
        )


def _apart(own: Int[np.ndarray, " pos"], ids: Int[np.ndarray, " pos"]) -> str:
    """Where two sequences part, for an error."""
    shorter = min(len(own), len(ids))
    same = int((own[:shorter] == ids[:shorter]).cumprod().sum())
    if same == len(ids):
        return f"{len(own)} tokens, and the store has scores of the first {same}"
    return f"token {same} is {own[same]}, and in the store {ids[same]}"


def check_cut(store: StoreReader, *, cut_bytes: int | None, length: int) -> None:
    """Refuses a run whose texts are cut in another way than those of a store.

    Args:
        store: The store.
        cut_bytes: The most bytes of a piece of text; None where texts are not cut.
        length: The most tokens of a teacher's sequence.

    Raises:
        ValueError: The store's are others.
    """
    plan = store.manifest.plan
    if cut_bytes != plan.cut_bytes:
        theirs, ours = ("null" if each is None else each for each in (plan.cut_bytes, cut_bytes))
        raise ValueError(
            f"windows.cut_bytes is {ours}, and the texts of the store {store.folder} were cut with "
            f"windows.cut_bytes={theirs}. Take that, or score the corpus with {ours}."
        )
    if length > plan.length:
        raise ValueError(
            f"teacher_length is {length}, and the sequences of the store {store.folder} end "
            f"after {plan.length} tokens. Take teacher_length={plan.length} or less, or "
            "score the corpus with a larger one."
        )
