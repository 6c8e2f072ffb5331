"""The trie and its walk, against a search through all tokens."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from alm_lightning.models.bytes.byte_config import ByteLMConfig
from alm_lightning.models.bytes.byte_expansion import NO_EDGE, InputExpansion, hide_padding
from alm_lightning.models.expansion import reversed_trie

# few letters, so that tokens are suffixes of one another
ALPHABET = b"ab\x00\xff"
LETTERS = st.sampled_from(list(ALPHABET))
TOKENS = st.lists(st.one_of(st.none(), st.lists(LETTERS, max_size=5).map(bytes)), max_size=30)


def expansion_of(token_bytes, *, fallback_ids=(), width=4):
    trie = reversed_trie(token_bytes, fallback_ids=fallback_ids)
    config = ByteLMConfig(
        expansion_rows=max(len(token_bytes), 1),
        expansion_nodes=len(trie.token_of_node),
        expansion_depth=trie.depth,
    )
    expansion = InputExpansion(config, nn.Embedding(259, width, padding_idx=258))
    nn.init.normal_(expansion.embedding.weight)
    if len(trie.edge_keys):
        expansion.edge_keys = torch.from_numpy(trie.edge_keys)
        expansion.token_of_node = torch.from_numpy(trie.token_of_node)
    return expansion


def naive_longest(token_bytes, ids, fallback_ids=()):
    found = []
    for end in range(1, len(ids) + 1):
        best = -1
        for start in range(end - 1, -1, -1):
            if ids[start] > 255:
                break
            same = [i for i, t in enumerate(token_bytes) if t == bytes(ids[start:end])]
            same = [i for i in same if i not in fallback_ids] or same
            if same:
                best = min(same)
        found.append(best)
    return found


@settings(max_examples=150, deadline=None)
@given(
    TOKENS,
    st.lists(st.one_of(LETTERS, st.sampled_from([256, 258, 300, 600])), min_size=1, max_size=25),
    st.data(),
)
def test_walk_finds_what_a_search_finds(token_bytes, ids, data):
    fallback_ids = data.draw(st.sets(st.integers(0, max(len(token_bytes) - 1, 0))))
    fallback_ids &= set(range(len(token_bytes)))
    expansion = expansion_of(token_bytes, fallback_ids=fallback_ids)
    expected = naive_longest(token_bytes, ids, fallback_ids)
    assert expansion.longest_tokens(torch.tensor([ids])).tolist() == [expected]
    # a sequence cut anywhere, with what lies before the cut as history
    cut = data.draw(st.integers(0, len(ids) - 1))
    rest = expansion.longest_tokens(torch.tensor([ids[cut:]]), torch.tensor([ids[:cut]]).long())
    assert rest.tolist() == [expected[cut:]]


def test_edges_are_sorted_and_every_node_is_reached_once():
    rng = np.random.default_rng(0)
    tokens = [bytes(rng.integers(0, 256, rng.integers(1, 9), dtype=np.uint8)) for _ in range(5000)]
    trie = reversed_trie(tokens)
    assert (np.diff(trie.edge_keys) > 0).all()
    assert len(trie.token_of_node) == len(trie.edge_keys) + 1
    prefixes = {token[-size:] for token in tokens for size in range(1, len(token) + 1)}
    assert len(trie.edge_keys) == len(prefixes)
    assert set(trie.token_of_node.tolist()) - {-1} == {tokens.index(t) for t in set(tokens)}
    assert trie.depth == max(map(len, tokens))


def test_an_ordinary_token_goes_before_a_fallback_one_of_the_same_bytes():
    tokens = [b"a", b"b", None, b"a", b"a"]
    assert expansion_of(tokens, fallback_ids=[0]).longest_tokens(torch.tensor([[97]])).item() == 3
    all_fallback = expansion_of(tokens, fallback_ids=[0, 3, 4])
    assert all_fallback.longest_tokens(torch.tensor([[97]])).item() == 0


def test_no_token_means_a_zero_vector():
    expansion = expansion_of([b"ab", None])
    out = expansion(torch.tensor([[97, 98, 256, 98]]), None, torch.float32)
    assert torch.equal(out[0, 1], expansion.embedding.weight[0])
    assert out[0, [0, 2, 3]].abs().max() == 0


def test_batches_and_rows_do_not_mix():
    expansion = expansion_of([b"ab", b"b"])
    ids = torch.tensor([[97, 98], [98, 98]])
    assert expansion.longest_tokens(ids).tolist() == [[-1, 0], [1, 1]]
    assert expansion.longest_tokens(ids, torch.tensor([[98], [97]])).tolist() == [[-1, 0], [0, 1]]


@pytest.mark.parametrize("mask", [[[0, 1, 1]], [[1, 1, 0, 1, 1]]])
def test_padding_hides_its_ids_whatever_they_are(mask):
    hidden = hide_padding(torch.tensor([[97, 98, 97]]), torch.tensor(mask))
    assert hidden.tolist() == [[NO_EDGE, 98, 97]]
    assert hide_padding(hidden, None) is hidden
