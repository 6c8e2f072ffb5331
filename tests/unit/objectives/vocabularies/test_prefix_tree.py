"""Masses of bytes against sums over all tokens."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

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
