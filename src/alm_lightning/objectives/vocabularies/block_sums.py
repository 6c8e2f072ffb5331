"""Sums of probabilities over ranges of a vocabulary, a block of logits at a time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from alm_lightning.data.batch import placed
from alm_lightning.likelihood.products import multiply_in
from alm_lightning.objectives.vocabularies.pair_facts import Trie

LOWEST = -80.0
"""From here on exponentials are float32 numbers with all digits, and products of them have some."""

FREQUENT = 2048
"""Prefixes that more tokens begin with are frequent: at what comes after them all rows are cut."""


@dataclass(frozen=True)
class Parts:
    """How the columns of some rows, which come in blocks, are added up to the sums of pieces.

    Few pieces end where no other row has an end. So all rows are added up over the same segments,
    by one product a block, and a whole piece is the sum of some segments. Only columns of the other
    pieces, inner ones, are added up one by one.

    Attributes:
        size: How many columns a block has; the last one has what is left.
        segment_of: The segment of each column.
        block_of: The block of each segment.
        ends: For each block the first of its segments, and the one after its last.
        whole: Which pieces are whole.
        segments: The segments of each of them, counted row by row.
        whole_counts: How many each has.
        inner: Which pieces are inner ones.
        columns: For each block the columns of inner pieces in it, counted row by row in the block.
        places: Where each of these stands in the order of inner pieces.
        maxima: In this order: which block of which row each is in, counted row by row.
        inner_counts: How many columns each inner piece has.
        num_pieces: How many pieces there are, with empty ones.
    """

    size: int
    segment_of: Int[Tensor, " column"]
    block_of: Int[Tensor, " segment"]
    ends: Sequence[tuple[int, int]]
    whole: Int[Tensor, " whole"]
    segments: Int[Tensor, " segment_of_whole"]
    whole_counts: Int[Tensor, " whole"]
    inner: Int[Tensor, " inner"]
    columns: Sequence[Int[Tensor, " _"]]
    places: Int[Tensor, " column_of_inner"]
    maxima: Int[Tensor, " column_of_inner"]
    inner_counts: Int[Tensor, " inner"]
    num_pieces: int

    @classmethod
    def of(cls, pieces: Int[Tensor, " piece"], bounds: Int[Tensor, " bound"], size: int) -> "Parts":
        """How some pieces are added up.

        Args:
            pieces: How many columns each has, in the memory of the processor; the rows, one after
                another, are these pieces without a gap.
            bounds: Columns where a segment may begin, in ascending order, from 0 on; at last how
                many columns there are. The sums are the same, whatever they are.
            size: How many columns a block has.

        Returns:
            What is added up, in the memory of the processor.
        """
        num_columns = int(bounds[-1])
        bounds = torch.cat([bounds, torch.arange(0, num_columns, size)]).unique()
        lengths = bounds.diff()
        block_of = bounds[:-1] // size
        per_block = torch.bincount(block_of, minlength=-(-num_columns // size)).cumsum(0).tolist()
        segment_at = torch.full((num_columns + 1,), -1).index_put(
            (bounds,), torch.arange(len(bounds))
        )
        starts = pieces.cumsum(0) - pieces
        # an empty piece may be counted as the next row's: it is added up in neither way
        rows, first = starts // max(num_columns, 1), starts % max(num_columns, 1)
        low, high = segment_at[first], segment_at[first + pieces]
        is_whole = (low >= 0) & (high >= 0)
        (whole,) = torch.where(is_whole & (pieces > 0))
        (inner,) = torch.where(~is_whole & (pieces > 0))
        whole_counts, inner_counts = (high - low)[whole], pieces[inner]
        own = whole.repeat_interleave(whole_counts)
        segments = rows[own] * len(lengths) + low[own] + within(whole_counts)
        own = inner.repeat_interleave(inner_counts)
        column, row = first[own] + within(inner_counts), rows[own]
        block = column // size
        places = block.argsort(stable=True)
        flat = row * (num_columns - block * size).clamp_max(size) + column % size
        counts = torch.bincount(block, minlength=len(per_block)).tolist()
        return cls(
            size=size,
            segment_of=torch.repeat_interleave(lengths),
            block_of=block_of,
            ends=list(zip([0, *per_block], per_block, strict=False)),
            whole=whole,
            segments=segments,
            whole_counts=whole_counts,
            inner=inner,
            columns=flat[places].split(counts),
            places=places,
            maxima=row * len(per_block) + block,
            inner_counts=inner_counts,
            num_pieces=len(pieces),
        )

    def to(self, device: torch.device) -> "Parts":
        """The same on the device that computes, from the processor."""
        moved = {k: placed(v, device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        columns = [placed(each, device) for each in self.columns]
        return Parts(**{**vars(self), **moved, "columns": columns})


@dataclass(frozen=True)
class BlockSums:
    """What is kept of each block of logits.

    Attributes:
        segments: For each block the sums of its segments.
        columns: For each block the exponentials of the columns of inner pieces.
        maxima: For each block the maximum of each row, under which its exponentials are.
    """

    segments: Sequence[Float[Tensor, "row _"]]
    columns: Sequence[Float[Tensor, " _"]]
    maxima: Sequence[Float[Tensor, " row"]]

    @classmethod
    def of(cls, blocks: Iterable[Float[Tensor, "row _"]], parts: Parts) -> "BlockSums":
        """The sums of some blocks, in float64.

        Args:
            blocks: Logits, a block of columns after another; overwritten.
            parts: How they are added up.

        Returns:
            The sums.
        """
        segments, columns, maxima = [], [], []
        for number, logits in enumerate(blocks):
            values, maximum = exponentials(logits)
            own = parts.segment_of[number * parts.size :][: logits.shape[1]]
            members = own.unsqueeze(1) == torch.arange(*parts.ends[number], device=own.device)
            with multiply_in("ieee"), torch.autocast(values.device.type, enabled=False):
                segments.append((values @ members.to(values.dtype)).double())
            columns.append(values.flatten().index_select(0, parts.columns[number]).double())
            maxima.append(maximum)
        return cls(segments, columns, maxima)

    def pieces(self, parts: Parts, scales: Float[Tensor, "row block"]) -> Float[Tensor, " piece"]:
        """The sum of each piece.

        Args:
            parts: As for the blocks.
            scales: What the exponentials of each block are to be multiplied by, float64.

        Returns:
            In the order of rows; 0 for an empty one.
        """
        sums = scales.new_zeros(parts.num_pieces)
        if not self.segments:
            return sums
        shared = torch.cat(list(self.segments), dim=1) * scales[:, parts.block_of]
        whole = segment_sums(shared.flatten().index_select(0, parts.segments), parts.whole_counts)
        columns = torch.cat(list(self.columns))
        columns = torch.zeros_like(columns).index_put((parts.places,), columns)
        inner = segment_sums(columns * scales.flatten()[parts.maxima], parts.inner_counts)
        return sums.index_put((parts.whole,), whole).index_put((parts.inner,), inner)


def segment_bounds(trie: Trie) -> Int[np.ndarray, " bound"]:
    """Where segments begin that many rows have in common: at what comes after frequent prefixes.

    Args:
        trie: The trie of a vocabulary.

    Returns:
        Ranks from 0 on, in ascending order; at last how many there are.
    """
    is_frequent = trie.last - trie.first > FREQUENT
    # the root's are asked for in every row
    is_frequent[0] = True
    counts = trie.num_children[is_frequent]
    children = np.repeat(trie.child_start[is_frequent] - (counts.cumsum() - counts), counts)
    children += np.arange(counts.sum())
    ends = [trie.own_end[is_frequent], trie.first[children], trie.last[children]]
    return np.unique(np.concatenate([[0, len(trie.order)], *ends]))


def exponentials(
    logits: Float[Tensor, "row column"],
) -> tuple[Float[Tensor, "row column"], Float[Tensor, " row"]]:
    """Exponentials of logits under the maximum of each row, and this maximum.

    Args:
        logits: At least one a row; overwritten.

    Returns:
        Float64, so that a mass of 1e-200 loses no digit, or on a processor float32 where none is as
        small as that; and the maximum in the logits' type.
    """
    maximum = logits.amax(dim=1)
    logits.sub_(maximum.unsqueeze(1))
    # an accelerator would have to be waited for
    if logits.device.type == "cpu" and logits.numel() and float(logits.amin()) > LOWEST:
        return logits.exp_(), maximum
    return logits.double().exp_(), maximum


def segment_sums(
    values: Float[Tensor, " item"], lengths: Int[Tensor, " segment"]
) -> Float[Tensor, " segment"]:
    """The sum of each segment of some values, added up by itself; 0 for an empty one."""
    return torch.segment_reduce(values, "sum", lengths=lengths, initial=0.0, unsafe=True)


def within(counts: Int[Tensor, " row"]) -> Int[Tensor, " item"]:
    """0, 1, ... within each row."""
    starts = counts.cumsum(0) - counts
    return torch.arange(int(counts.sum()), device=counts.device) - starts.repeat_interleave(counts)
