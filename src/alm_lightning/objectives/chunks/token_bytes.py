"""The tokens that bytes belong to, and what a model says of each of these bytes."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from alm_lightning.data.batch import placed
from alm_lightning.data.scores import END, ByteShares
from alm_lightning.likelihood.blocks import block_columns, block_rows
from alm_lightning.likelihood.distributions import Distributions, TokenDistributions
from alm_lightning.likelihood.signal import ModelSignal
from alm_lightning.likelihood.slices import slice_rows
from alm_lightning.objectives.chunks.byte_runs import SideBytes
from alm_lightning.objectives.vocabularies.block_sums import Parts
from alm_lightning.objectives.vocabularies.prefix_tree import ByteMasses, Cut, PrefixTree

SMALLEST = 1e-30
"""The least probability that a token goes on, where a store was asked."""
COPIES = 4
"""Float64 and a few copies: what is alive of a slice, relative to its logits in float32."""


@dataclass(frozen=True)
class TokenBytes:
    """The tokens that some bytes belong to, on one side.

    Attributes:
        positions: Position in the flattened batch of each token.
        ids: The tokens.
        counts: How many prefixes of each token are asked for, from the empty one on.
        num_bytes: How many bytes of each token there are.
        first: The first byte of each token, counted among all.
        steps: How many bytes of its token come before each byte.
    """

    positions: Int[Tensor, " row"]
    ids: Int[Tensor, " row"]
    counts: Int[Tensor, " row"]
    num_bytes: Int[Tensor, " row"]
    first: Int[Tensor, " row"]
    steps: Int[Tensor, " byte"]

    @classmethod
    def of(cls, side: SideBytes, ids: Int[Tensor, "batch pos"]) -> "TokenBytes":
        """The tokens of some bytes.

        Args:
            side: The bytes, those of one token side by side.
            ids: The tokens of the batch.

        Returns:
            In the order of the bytes.
        """
        positions, num_bytes = torch.unique_consecutive(side.positions, return_counts=True)
        rows = torch.repeat_interleave(num_bytes)
        counts = torch.zeros_like(positions).scatter_reduce(0, rows, side.steps + 1, "amax")
        first = num_bytes.cumsum(0) - num_bytes
        return cls(positions, ids.flatten()[positions], counts, num_bytes, first, side.steps)

    def part(self, start: int, stop: int) -> "TokenBytes":
        """Some of the tokens, with their bytes; `first` counts as before.

        Args:
            start: The first token.
            stop: The one after the last.

        Returns:
            As many tokens as there are in this range.
        """
        rows = slice(start, stop)
        first, num_bytes = self.first[rows], self.num_bytes[rows]
        own = slice(int(first[0]), int(first[-1] + num_bytes[-1])) if len(first) else slice(0)
        return TokenBytes(
            positions=self.positions[rows],
            ids=self.ids[rows],
            counts=self.counts[rows],
            num_bytes=num_bytes,
            first=first,
            steps=self.steps[own],
        )


def prefix_places(
    counts: Int[Tensor, " row"], num_bytes: Int[Tensor, " row"], steps: Int[Tensor, " byte"]
) -> Int[Tensor, " byte"]:
    """Where the prefix before each byte stands among the prefixes of all tokens."""
    return (counts.cumsum(0) - counts).repeat_interleave(num_bytes) + steps


@dataclass(frozen=True)
class TokenCut:
    """How the distributions at some tokens are cut, and what of it the bytes read.

    Attributes:
        cut: The cut.
        places: Where the prefix before each byte stands among the prefixes of all tokens.
    """

    cut: Cut
    places: Int[Tensor, " byte"]


@dataclass(frozen=True)
class Trees:
    """The trie of a vocabulary in two places.

    Attributes:
        device: Where probabilities are added up.
        host: In the memory of the processor, where it is found out which.
    """

    device: PrefixTree
    host: PrefixTree

    def cut(self, tokens: TokenBytes, device: torch.device) -> TokenCut:
        """The cut for some tokens.

        Args:
            tokens: In the memory of the processor.
            device: Where it is read.

        Returns:
            The cut, on the device.
        """
        places = prefix_places(tokens.counts, tokens.num_bytes, tokens.steps)
        cut = self.host.cut(tokens.ids, tokens.counts)
        return TokenCut(cut.to(device), placed(places, device))


@torch.no_grad()
def next_byte_shares(
    model: TokenDistributions,
    tokens: TokenBytes,
    trees: Trees,
    classes: Callable[[ByteMasses], Float[Tensor, "prefix cell"]],
) -> Float[Tensor, "byte cell"]:
    """What one forward pass of a model says of each byte, given the bytes of its token before it.

    Args:
        model: The model's distributions over tokens.
        tokens: The bytes, in the memory of the processor.
        trees: The trie of the model's vocabulary.
        classes: The masses of the classes that are told apart, from those of all bytes.

    Returns:
        The share of each class, float32; all 0 where none has mass.
    """
    device = model.device
    columns = min(block_columns(device), model.num_tokens)
    size = min(block_rows(device), slice_rows(COPIES * columns, device))
    if not isinstance(model, Distributions):
        # rows that a store has are whole ones
        size = slice_rows(COPIES * model.num_tokens, device)
    found = []
    for start in range(0, max(len(tokens.ids), 1), size):
        part = tokens.part(start, start + size)
        cut = trees.host.cut(part.ids, part.counts)
        rows = placed(part.positions, device)
        if isinstance(model, Distributions):
            parts = Parts.of(cut.lengths, trees.host.bounds, block_columns(device)).to(device)
            masses = trees.device.masses_at(model, rows, cut.to(device), parts)
        else:
            masses = trees.device.masses(model.logprobs(rows), cut.to(device))
        places = placed(prefix_places(part.counts, part.num_bytes, part.steps), device)
        found.append(shares(classes(masses)[places]).float())
    return torch.cat(found)


def teacher_shares(
    teacher: ModelSignal,
    tokens: TokenBytes,
    trees: Trees,
    classes: Callable[[ByteMasses], Float[Tensor, "prefix cell"]],
) -> Float[Tensor, "byte cell"]:
    """What a teacher says of each byte: from its distributions, or as a store has it.

    Args:
        teacher: The teacher's side of the signal.
        tokens: The bytes, in the memory of the processor.
        trees: The trie of the teacher's vocabulary.
        classes: As for `next_byte_shares`.

    Returns:
        The share of each class, float32.
    """
    stored = teacher.next_bytes
    if stored is None:
        return next_byte_shares(teacher.token_distributions, tokens, trees, classes)
    masses, device = stored_masses(stored, tokens, trees.host), trees.device.order.device
    found = classes(ByteMasses(**{n: placed(v, device) for n, v in vars(masses).items()}))
    return shares(found).float()


def stored_masses(stored: ByteShares, tokens: TokenBytes, tree: PrefixTree) -> ByteMasses:
    """The masses after the prefixes before some bytes, as a store has them.

    Args:
        stored: What the store has of the batch.
        tokens: The bytes, in the memory of the processor.
        tree: The trie of the teacher's vocabulary, there too.

    Returns:
        One row a byte, float64; the mass of the prefix is 1.

    Raises:
        ValueError: The store has nothing of one of the bytes.
    """
    firsts = stored.first.flatten()[tokens.positions].long()
    if (firsts < 0).any():
        raise ValueError("the store has no distribution for a token that is compared.")
    prefixes = firsts.repeat_interleave(tokens.num_bytes) + tokens.steps
    starts = stored.starts.long()
    counts = starts[prefixes + 1] - starts[prefixes]
    rows = torch.repeat_interleave(counts)
    ends = counts.cumsum(0)
    entries = torch.arange(len(rows)) + (starts[prefixes] - ends + counts)[rows]
    symbols, values = stored.symbols[entries].long(), stored.shares[entries].double()
    num_rows = len(prefixes)
    cells = torch.zeros(num_rows, END + 1 + tree.num_special, dtype=torch.float64)
    is_special = symbols > END
    classes = tree.special_classes[(symbols - END - 1).clamp_min(0)] + END + 1
    columns = torch.where(is_special, classes, symbols)
    cells = cells.index_put((rows, columns), values, accumulate=True)
    goes_on = cells[:, END].clone()
    # a mass that float16 has no number for is still told from none
    cells = cells * goes_on.clamp_min(SMALLEST).unsqueeze(1)
    return ByteMasses(cells[:, :END], 1.0 - goes_on, cells[:, END + 1 :])


def shares(masses: Float[Tensor, "byte cell"]) -> Float[Tensor, "byte cell"]:
    """Masses in proportion; 0 where there is none at all."""
    total = masses.sum(dim=1, keepdim=True)
    return masses / torch.where(total > 0, total, 1.0)
