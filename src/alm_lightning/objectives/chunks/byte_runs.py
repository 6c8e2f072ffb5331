"""The bytes of chunks, and which token of either side each belongs to."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor

from alm_lightning.likelihood.signal import Supervision
from alm_lightning.objectives.chunks.one_to_one import one_to_one
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

    Left out is a chunk that the two sides spell differently, for a normaliser's sake or since a
    token stands for no text. A space that one side alone has before the chunk is no byte of it:
    some tokenizers put one before a text. A chunk that is one token without bytes on both sides
    counts as one byte, with nothing before it.

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
    kept = [SideBytes(side.positions[is_same], side.steps[is_same]) for side in (ours, theirs)]
    structure = _structure(signal, student, teacher)
    both = [_joined(*parts) for parts in zip(kept, structure, strict=True)]
    # structure stands among the rest, in the same order on both sides
    order = both[0].positions.argsort(stable=True)
    return PairedBytes(*(SideBytes(side.positions[order], side.steps[order]) for side in both))


def _structure(
    signal: Supervision, student: PrefixTree, teacher: PrefixTree
) -> tuple[SideBytes, SideBytes]:
    """Chunks that are one token without bytes on both sides."""
    single = one_to_one(signal)
    our_ids = signal.student_tokens.ids.flatten()[single.student_positions]
    their_ids = signal.teacher_tokens.ids.flatten()[single.teacher_positions]
    is_structure = (student.lengths[our_ids] == 0) & (teacher.lengths[their_ids] == 0)
    ours, theirs = single.student_positions[is_structure], single.teacher_positions[is_structure]
    return SideBytes(ours, torch.zeros_like(ours)), SideBytes(theirs, torch.zeros_like(theirs))


def _joined(first: SideBytes, second: SideBytes) -> SideBytes:
    return SideBytes(
        torch.cat([first.positions, second.positions]), torch.cat([first.steps, second.steps])
    )


@dataclass(frozen=True)
class _Spelled:
    """The bytes of chunks on one side; how many each chunk has, and whether it begins wrongly."""

    values: UInt8[Tensor, " byte"]
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
    lengths = tree.lengths[own_ids]
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
