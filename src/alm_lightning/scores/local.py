"""A teacher in memory that reads sequences: what `SequenceScorer` asks for, of every kind."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from alm_lightning.data.batch import SideTokens
from alm_lightning.data.scores import END
from alm_lightning.likelihood.distributions import Distributions
from alm_lightning.likelihood.score import token_logprobs
from alm_lightning.likelihood.slices import slice_rows
from alm_lightning.models.pair import Scorer
from alm_lightning.models.structure import last_hidden
from alm_lightning.objectives.chunks.byte_runs import SideBytes
from alm_lightning.objectives.chunks.token_bytes import TokenBytes, Trees, next_byte_shares
from alm_lightning.objectives.vocabularies.block_sums import within
from alm_lightning.objectives.vocabularies.prefix_tree import ByteMasses, PrefixTree
from alm_lightning.scores.kinds import HIDDEN, NEXT_BYTE, TOP_K, Kinds
from alm_lightning.scores.sequences import NextBytes, TokenScores
from alm_lightning.shapes import NO_CHUNK

SLICE_TOKENS = 256
"""Tokens whose distributions of bytes are dense at once."""


MOST_SYMBOLS = 1 << 16
"""Symbols of `NextBytes` that a store can tell apart."""
LOWEST = -1e4
"""Nats that stand for a probability of 0."""


class LocalScorer:
    """Reads sequences with a model.

    Args:
        teacher: The model with its tokenizer, on the device that computes.
        kinds: What to say of each token.
        batch_tokens: The most tokens of a forward pass, padding included; a longer sequence has
            one of its own.
        autocast: Gives the context of the precision to compute in.
    """

    def __init__(
        self,
        teacher: Scorer,
        *,
        kinds: Kinds,
        batch_tokens: int,
        autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    ):
        if batch_tokens < 1:
            raise ValueError(f"scores.batch_tokens is {batch_tokens}: expected at least 1.")
        self.teacher, self.kinds = teacher, kinds
        self.batch_tokens, self.autocast = batch_tokens, autocast
        teacher.freeze()
        self._trees: Trees | None = None
        if NEXT_BYTE in kinds:
            # each token without bytes by itself: which of them a student has, a store can't know
            num_special = len(teacher.view.trie.ids_without_bytes)
            if END + num_special >= MOST_SYMBOLS:
                raise ValueError(
                    f"the teacher's tokenizer has {num_special:,} ids without bytes, and a store "
                    f"tells {MOST_SYMBOLS - END - 1:,} apart. Take scores.kinds=[top_k], which "
                    "serves the same objectives."
                )
            tree = PrefixTree(teacher.view.trie, np.arange(num_special), num_special)
            host = tree.on_host()
            self._trees = Trees(tree.to(teacher.model.device), host)

    def score(self, sequences: Sequence[Int[np.ndarray, " _"]]) -> Iterator[TokenScores]:
        """What the teacher says of each sequence, in their order.

        Args:
            sequences: Whole sequences, start token included; of like length side by side they need
                least padding.

        Yields:
            The scores.
        """
        start = 0
        while start < len(sequences):
            stop, longest = start, 0
            while stop < len(sequences):
                longest = max(longest, len(sequences[stop]))
                if stop > start and longest * (stop + 1 - start) > self.batch_tokens:
                    break
                stop += 1
            yield from self._batch(sequences[start:stop])
            start = stop

    @torch.no_grad()
    def _batch(self, sequences: Sequence[Int[np.ndarray, " _"]]) -> list[TokenScores]:
        """Those of one forward pass; a list, so that no caller is left within the autocast."""
        found = []
        tokens = _side(sequences, self.teacher.view.start_id)
        placed = tokens.to(self.teacher.model.device)
        with self.autocast():
            hidden = last_hidden(self.teacher.model, placed.ids, None)
            head = self.teacher.head()
            logprobs, boundary = (v.cpu().numpy() for v in token_logprobs(hidden, placed, head))
            whole = Distributions(hidden, hidden[..., :0], head)
            for row, sequence in enumerate(sequences):
                length = len(sequence)
                places = row * tokens.ids.shape[1] + torch.arange(1, length)
                top_ids, top_logprobs = self._top(whole, places)
                states = hidden[row, :length].float().cpu().numpy()
                scores = TokenScores(
                    logprobs=logprobs[row, :length].astype(np.float32),
                    boundary_logprobs=boundary[row, :length].astype(np.float32),
                    top_ids=top_ids,
                    top_logprobs=top_logprobs,
                    hidden=states if HIDDEN in self.kinds else None,
                    next_bytes=self._next_bytes(whole, tokens.ids, places),
                )
                found.append(scores)
        return found

    def _top(
        self, whole: Distributions, places: Int[Tensor, " row"]
    ) -> tuple[Int[np.ndarray, "pos top"] | None, Float[np.ndarray, "pos top"] | None]:
        """The likeliest tokens of one sequence; there are none at its first position."""
        if TOP_K not in self.kinds:
            return None, None
        count = whole.num_tokens if self.kinds.top is None else self.kinds.top
        count = min(count, whole.num_tokens)
        ids = [np.full((1, count), -1, np.int32)]
        values = [np.full((1, count), -np.inf, np.float32)]
        for part in places.to(whole.device).split(slice_rows(whole.num_tokens, whole.device)):
            top = whole.logprobs(part).topk(count, dim=1)
            ids.append(top.indices.cpu().numpy().astype(np.int32))
            # a probability of 0, in whatever type it is kept
            values.append(top.values.clamp_min(LOWEST).cpu().numpy())
        return np.concatenate(ids), np.concatenate(values)

    def _next_bytes(
        self, whole: Distributions, ids: Int[Tensor, "batch pos"], places: Int[Tensor, " row"]
    ) -> NextBytes | None:
        """The distributions of bytes of one sequence."""
        if self._trees is None:
            return None
        found = []
        for part in places.split(SLICE_TOKENS):
            counts = self._trees.host.lengths[ids.flatten()[part]].clamp_min(1)
            side = SideBytes(part.repeat_interleave(counts), within(counts))
            dense = next_byte_shares(whole, TokenBytes.of(side, ids), self._trees, _symbols)
            entries = sparse(dense, self.kinds.least_share)
            is_there = entries > 0
            # the token may be certain to end here
            is_there[:, END] = True
            sizes = is_there.sum(dim=1)
            found.append((sizes, is_there.nonzero()[:, 1], entries[is_there]))
        if not found:
            return NextBytes(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32))
        parts = zip(*found, strict=True)
        sizes, symbols, values = (torch.cat(part).cpu().numpy() for part in parts)
        return NextBytes(sizes.astype(np.int32), symbols.astype(np.int32), values)


def sparse(
    shares: Float[Tensor, "prefix symbol"], least_share: float
) -> Float[Tensor, "prefix symbol"]:
    """Distributions of symbols, as a store has them.

    Objectives may leave the end of a token out, so that what comes after a token that ends almost
    certainly counts as much as anything.

    Args:
        shares: Of all symbols; the rows sum to 1.
        least_share: What is at least this likely where the token does not end is kept, and the
            likeliest of it, however many share the mass.

    Returns:
        Shares given that the token does not end, 0 for what is left out, in rows that sum to 1; at
        `END` the probability that it does not.
    """
    others = shares.index_fill(1, torch.tensor([END], device=shares.device), 0.0)
    goes_on = others.sum(dim=1, keepdim=True)
    others = others / torch.where(goes_on > 0, goes_on, 1.0)
    least = others.amax(dim=1, keepdim=True).clamp_max(least_share)
    others = others.masked_fill(others < least, 0.0)
    total = others.sum(dim=1, keepdim=True)
    others = others / torch.where(total > 0, total, 1.0)
    others[:, END] = goes_on.squeeze(1)
    return others


def _symbols(masses: ByteMasses) -> Float[Tensor, "prefix symbol"]:
    """Masses in the order of symbols: bytes, the end of a token, special tokens."""
    assert masses.bytes.shape[1] == END
    return torch.cat([masses.bytes, masses.end.unsqueeze(1), masses.special], dim=1)


def _side(sequences: Sequence[Int[np.ndarray, " _"]], pad_id: int) -> SideTokens:
    """Sequences as a batch, each in a row; in no chunks."""
    width = max(map(len, sequences))
    ids = np.full((len(sequences), width), pad_id, np.int64)
    mask = np.zeros(ids.shape, bool)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = True
    return SideTokens(
        ids=torch.from_numpy(ids),
        positions=torch.arange(width, dtype=torch.int32).expand(len(sequences), -1).contiguous(),
        mask=torch.from_numpy(mask),
        chunk_ids=torch.full(ids.shape, NO_CHUNK, dtype=torch.int32),
    )
