"""Masses of bytes against sums over all tokens."""

import math
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alm_lightning.likelihood import blocks
from alm_lightning.likelihood.distributions import Distributions
from alm_lightning.likelihood.head import OutputHead
from alm_lightning.objectives.vocabularies import block_sums
from alm_lightning.objectives.vocabularies.block_sums import BlockSums, Parts
from alm_lightning.objectives.vocabularies.prefix_tree import SPECIAL, PrefixTree
from alm_lightning.tokenization.trie import VocabularyTrie

SURFACES = st.lists(
    st.one_of(st.none(), st.binary(max_size=4), st.text("ab ", max_size=5).map(str.encode)),
    min_size=1,
    max_size=25,
)


def tree_of(surfaces):
    return PrefixTree(VocabularyTrie(surfaces))


def by_search(surfaces, probs, id_, count):
    """For each prefix: mass by byte, of the prefix itself, and of what has no bytes."""
    zero = torch.zeros((), dtype=probs.dtype)
    own = surfaces[id_] or b""
    for k in range(count):
        prefix = own[:k]
        bytes_ = [zero] * 256
        for i, surface in enumerate(surfaces):
            if surface and surface.startswith(prefix) and len(surface) > k:
                bytes_[surface[k]] = bytes_[surface[k]] + probs[i]
        end = sum((probs[i] for i, s in enumerate(surfaces) if s and s == prefix), start=zero)
        special = sum((probs[i] for i, s in enumerate(surfaces) if not s and k == 0), start=zero)
        yield torch.stack(bytes_), end, special


def test_tables_of_the_host_stay_where_a_module_is_moved_in_place():
    tree = tree_of([b"a", b"ab", None])
    host = tree.on_host()
    for table in tree.buffers():
        # as `fully_shard` does with a copy on the GPU
        table.data = torch.full_like(table, -1)
    assert not tree.byte.equal(host.byte)
    assert host.spelled(torch.tensor([1, 2])).tolist() == [*b"ab", SPECIAL]


@given(st.data())
def test_masses_and_gradients(data):
    surfaces = data.draw(SURFACES)
    ids = data.draw(st.lists(st.integers(0, len(surfaces) - 1), max_size=4))
    # as far as one past the token's last byte
    counts = [data.draw(st.integers(1, len(surfaces[i] or b"") + 1)) for i in ids]
    scale = data.draw(st.sampled_from([1.0, 30.0]))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    logits = scale * torch.randn(len(ids), len(surfaces), generator=generator).double()
    logprobs = logits.log_softmax(dim=1).requires_grad_()
    tokens = torch.tensor(ids, dtype=torch.long), torch.tensor(counts, dtype=torch.long)
    masses = tree_of(surfaces)(logprobs, *tokens)
    wanted = [
        each
        for row, (id_, count) in enumerate(zip(ids, counts, strict=True))
        for each in by_search(surfaces, logprobs[row].exp(), id_, count)
    ]
    assert len(masses.end) == len(wanted) == sum(counts)
    if not wanted:
        return
    expected = [torch.stack(column) for column in zip(*wanted, strict=True)]
    found = [masses.bytes, masses.end, masses.special.squeeze(1)]
    for got, want in zip(found, expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=0.0)

    def total(parts):
        return sum(part[part > 0].log().sum() for part in parts)

    (got,) = torch.autograd.grad(total(found), logprobs)
    (want,) = torch.autograd.grad(total(expected), logprobs)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def in_blocks(tree, logits, ids, counts, *, size, padding_ids=None):
    """The masses of tokens whose logits are given, from blocks of so many tokens."""
    with patch.dict(blocks.BLOCK_SIZES, cpu=(1024, size)):
        num_tokens = logits.shape[1]
        identity = torch.eye(num_tokens, dtype=logits.dtype)
        head = OutputHead(identity, None, None, num_tokens, padding_ids, torch.arange(0))
        # the state before each place predicts its token
        model = Distributions(logits.unsqueeze(0), logits.unsqueeze(0), head)
        cut = tree.cut(ids, counts)
        parts = Parts.of(cut.lengths, tree.bounds.long(), size)
        return tree.masses_at(model, torch.arange(1, len(ids) + 1), cut, parts)


@given(st.data())
def test_masses_in_blocks(data):
    surfaces = data.draw(SURFACES)
    ids = data.draw(st.lists(st.integers(0, len(surfaces) - 1), max_size=4))
    counts = [data.draw(st.integers(1, len(surfaces[i] or b"") + 1)) for i in ids]
    # float32 exponentials, float64 ones in some of the blocks, and in all
    scale, dtype = data.draw(
        st.sampled_from([(3.0, torch.float32), (60.0, torch.float32), (3.0, torch.float64)])
    )
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    logits = (scale * torch.randn(len(ids), len(surfaces), generator=generator)).to(dtype)
    unused = [i for i, surface in enumerate(surfaces) if surface is None][1:]
    padding_ids = torch.tensor(unused) if unused else None
    with patch.object(block_sums, "FREQUENT", data.draw(st.sampled_from([0, 2, 5, 100]))):
        tree = tree_of(surfaces)
    tokens = torch.tensor(ids, dtype=torch.long), torch.tensor(counts, dtype=torch.long)
    size = data.draw(st.integers(1, 30))
    found = in_blocks(tree, logits, *tokens, size=size, padding_ids=padding_ids)
    expected = tree(
        logits.double().index_fill(1, torch.tensor(unused).long(), -1e9).log_softmax(1), *tokens
    )
    for name, want in vars(expected).items():
        got = getattr(found, name)
        assert got.dtype == torch.float64
        # differences of float32 logits are rounded, by up to 2^-17 beyond 128
        rtol = 1e-12 if dtype == torch.float64 else 1e-6 if scale < 10 else 3e-5
        torch.testing.assert_close(got, want, rtol=rtol, atol=0.0)


def test_sums_of_float32_are_rounded_by_no_setting():
    logits = torch.randn(300, 100, generator=torch.Generator().manual_seed(0))
    pieces = torch.tensor([30, 0, 70]).repeat(300)
    parts = Parts.of(pieces, torch.tensor([0, 30, 100]), 100)
    with torch.autocast("cpu", torch.bfloat16):
        torch.set_float32_matmul_precision("medium")
        try:
            sums = BlockSums.of([logits.clone()], parts)
            assert torch.get_float32_matmul_precision() == "medium"
        finally:
            torch.set_float32_matmul_precision("highest")
    found = sums.pieces(parts, torch.ones(300, 1, dtype=torch.float64)).view(300, 3)
    probs = (logits - logits.amax(1, keepdim=True)).double().exp()
    expected = torch.stack([probs[:, :30].sum(1), torch.zeros(300), probs[:, 30:].sum(1)], dim=1)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("mass", [1e-9, 1e-30, 1e-200])
def test_small_masses_in_blocks(mass):
    tree = tree_of([b"a", b"ab", b"abc", b"ad", b"x", None])
    parts = torch.tensor([0.4, 0.3, 0.2, 0.1]).log() + math.log(mass)
    logits = torch.cat([parts, torch.tensor([0.7, 0.3]).log()]).unsqueeze(0)
    masses = in_blocks(tree, logits, torch.tensor([2]), torch.tensor([3]), size=100)
    shares = torch.stack([*masses.bytes[1][list(b"bd")], masses.end[1]]) / masses.bytes[0, ord("a")]
    assert shares.float().sum().item() == pytest.approx(1.0, abs=1e-6)
    wanted = torch.tensor([0.5, 0.1, 0.4], dtype=torch.float64)
    # the logits themselves are float32
    torch.testing.assert_close(shares, wanted, rtol=3e-5, atol=0.0)


@pytest.mark.parametrize("mass", [1e-9, 1e-30, 1e-200])
def test_small_masses_keep_their_digits(mass):
    """A prefix that the model all but excludes: what comes after it is known as well as ever."""
    surfaces = [b"a", b"ab", b"abc", b"ad", b"x", None]
    log_mass = torch.tensor(mass, dtype=torch.float64).log()
    parts = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64).log() + log_mass
    rest = torch.tensor([0.7, 0.3], dtype=torch.float64).log()
    logprobs = torch.cat([parts, rest]).unsqueeze(0)
    masses = tree_of(surfaces)(logprobs, torch.tensor([2]), torch.tensor([3]))
    inside = masses.bytes[1]
    total = inside.sum() + masses.end[1]
    shares = torch.stack([*inside[list(b"bd")], masses.end[1]]) / total
    assert shares.float().sum().item() == pytest.approx(1.0, abs=1e-6)
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.1, 0.4], dtype=torch.float64))
    shares = torch.stack([masses.bytes[2, ord("c")], masses.end[2]])
    shares = shares / shares.sum()
    torch.testing.assert_close(shares, torch.tensor([0.4, 0.6], dtype=torch.float64))


def test_spelled():
    tree = tree_of([b"ab", None, b"c ", b""])
    found = tree.spelled(torch.tensor([2, 1, 0, 3, 0])).tolist()
    assert found == [*b"c ", SPECIAL, *b"ab", SPECIAL, *b"ab"]


def test_special_tokens_by_class():
    trie = VocabularyTrie([b"a", None, None, b"", None])
    tree = PrefixTree(trie, np.array([1, 0, 2, 1]), 3)
    logprobs = torch.tensor([[0.1, 0.2, 0.3, 0.15, 0.25]], dtype=torch.float64).log()
    masses = tree(logprobs, torch.tensor([0]), torch.tensor([2]))
    assert masses.special.tolist() == [pytest.approx([0.3, 0.45, 0.15]), [0.0, 0.0, 0.0]]
