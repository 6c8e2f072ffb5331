"""The bytes of chunks, and which token of either side each belongs to."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from alm_lightning.likelihood.signal import Supervision
from alm_lightning.objectives.chunks.token_runs import Runs, token_runs
from alm_lightning.objectives.vocabularies.prefix_tree import PrefixTree

SPACE = 32


@dataclass(frozen=True)
class SideBytes:
    """Where bytes stand among the tokens of one side.

    Attributes:
        positions: Position in the flattened batch of the token that each byte belongs to.
        steps: How many bytes of that token come before it.
    """

    positions: Int[Tensor, " byte"]
    steps: Int[Tensor, " byte"]

    def of(self, chosen: Bool[Tensor, " byte"]) -> "SideBytes":
        """Some of the bytes."""
        return SideBytes(self.positions[chosen], self.steps[chosen])


@dataclass(frozen=True)
class PairedBytes:
    """Bytes that both sides spell, in the order of the batch.

    Attributes:
        student: Where they stand on the student's side.
        teacher: Where they stand on the teacher's side.
    """

    student: SideBytes
    teacher: SideBytes

    def of(self, chosen: Bool[Tensor, " byte"]) -> "PairedBytes":
        """Some of the bytes."""
        return PairedBytes(self.student.of(chosen), self.teacher.of(chosen))


def paired_bytes(signal: Supervision, student: PrefixTree, teacher: PrefixTree) -> PairedBytes:
    """The bytes of all chunks whose tokens both models predict.

    A token without bytes counts as one byte, the same for all special tokens: so chunks of
    structure have bytes too. Left out is a chunk that the two sides spell differently, because a
    normaliser changed it, or since their templates differ. A space that one side alone has before
    the chunk is no byte of it: some tokenizers put one before a text.

    Args:
        signal: Tokens and chunks.
        student: The trie of the student's vocabulary.
        teacher: The trie of the teacher's.

    Returns:
        The bytes of both sides, in one order.
    """
    runs = token_runs(signal)
    ours = _spelled(runs.student, signal.student_tokens.ids, student)
    theirs = _spelled(runs.teacher, signal.teacher_tokens.ids, teacher)
    lead = theirs.counts - ours.counts
    similar = (lead.abs() <= 1) & (torch.minimum(ours.counts, theirs.counts) > 0)
    ours, theirs = (
        side.kept(similar, skipped.clamp_min(0))
        for side, skipped in ((ours, -lead), (theirs, lead))
    )
    differs = (ours.values != theirs.values).long()
    wrong = torch.zeros_like(lead).index_add(0, ours.chunks, differs) + ours.wrong + theirs.wrong
    is_same = wrong[ours.chunks] == 0
    return PairedBytes(
        *(SideBytes(side.positions[is_same], side.steps[is_same]) for side in (ours, theirs))
    )


@dataclass(frozen=True)
class _Spelled:
    """The bytes of chunks on one side; how many each chunk has, and whether it begins wrongly."""

    values: Int[Tensor, " byte"]
    positions: Int[Tensor, " byte"]
    steps: Int[Tensor, " byte"]
    chunks: Int[Tensor, " byte"]
    counts: Int[Tensor, " row"]
    wrong: Int[Tensor, " row"]

    def kept(self, chosen: Bool[Tensor, " row"], skipped: Int[Tensor, " row"]) -> "_Spelled":
        """The bytes of some chunks without the first ones, which must be spaces."""
        starts = self.counts.cumsum(0) - self.counts
        offsets = torch.arange(len(self.chunks), device=starts.device) - starts[self.chunks]
        is_skipped = offsets < skipped[self.chunks]
        no_space = (is_skipped & (self.values != SPACE)).long()
        wrong = torch.zeros_like(self.counts).index_add(0, self.chunks, no_space)
        kept = chosen[self.chunks] & ~is_skipped
        return _Spelled(
            values=self.values[kept],
            positions=self.positions[kept],
            steps=self.steps[kept],
            chunks=self.chunks[kept],
            counts=self.counts,
            wrong=wrong,
        )


def _spelled(runs: Runs, ids: Int[Tensor, "batch pos"], tree: PrefixTree) -> _Spelled:
    """Every byte of every chunk."""
    own_ids = ids.flatten()[runs.positions]
    lengths = tree.lengths[own_ids].clamp_min(1)
    chunks = torch.arange(len(runs.counts), device=ids.device).repeat_interleave(runs.counts)
    starts = lengths.cumsum(0) - lengths
    chunks_of_bytes = chunks.repeat_interleave(lengths)
    steps = torch.arange(len(chunks_of_bytes), device=ids.device)
    counts = torch.zeros_like(runs.counts).index_add(0, chunks, lengths)
    return _Spelled(
        values=tree.spelled(own_ids),
        positions=runs.positions.repeat_interleave(lengths),
        steps=steps - starts.repeat_interleave(lengths),
        chunks=chunks_of_bytes,
        counts=counts,
        wrong=torch.zeros_like(counts),
    )
