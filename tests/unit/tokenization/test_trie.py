"""The trie against a search through all tokens."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.real_tokenizers import real_view

from alm_lightning.tokenization.trie import ROOT, VocabularyTrie

SURFACES = st.lists(
    st.one_of(st.none(), st.binary(max_size=5), st.text("ab ", max_size=5).map(str.encode)),
    max_size=30,
)


def children(trie, node):
    start = trie.child_start[node]
    return range(start, start + trie.num_children[node])


def node_of(trie, prefix):
    """The node of a prefix, from child to child."""
    node = ROOT
    for byte in prefix:
        (node,) = [child for child in children(trie, node) if trie.byte[child] == byte]
    return node


@given(SURFACES)
def test_every_prefix_has_its_tokens(surfaces):
    trie = VocabularyTrie(surfaces)
    content = {id_: s for id_, s in enumerate(surfaces) if s}
    prefixes = {s[:k] for s in content.values() for k in range(len(s) + 1)} | {b""}
    assert len(trie.byte) == len(prefixes)
    assert sorted(trie.order) == list(content)
    assert [content[id_] for id_ in trie.order] == sorted(content.values())
    for prefix in prefixes:
        node = node_of(trie, prefix)
        first, own_end, last = trie.first[node], trie.own_end[node], trie.last[node]
        begins = [id_ for id_, s in content.items() if s.startswith(prefix)]
        assert sorted(trie.order[first:last]) == begins
        assert sorted(trie.order[first:own_end]) == [i for i in begins if content[i] == prefix]
    assert trie.ids_without_bytes.tolist() == [i for i, s in enumerate(surfaces) if not s]


@given(SURFACES)
def test_the_path_of_a_token(surfaces):
    trie = VocabularyTrie(surfaces)
    for id_, surface in enumerate(surfaces):
        length = len(surface or b"")
        assert trie.lengths[id_] == length
        path = trie.path_nodes[trie.path_start[id_] :][:length].tolist()
        assert path == [node_of(trie, surface[: k + 1]) for k in range(length)]


def test_a_token_longer_than_100_bytes():
    trie = VocabularyTrie([b" " * 150, b" " * 3, None])
    assert len(trie.byte) == 151
    assert trie.last[node_of(trie, b" " * 100)] - trie.first[node_of(trie, b" " * 100)] == 1
    assert trie.order.tolist() == [1, 0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gemma3", "smollm2"])
def test_real_vocabularies(name):
    view = real_view(name)
    start = time.process_time()
    trie = VocabularyTrie(view.token_bytes)
    # 0.5 s for 262,144 tokens where this was written
    assert time.process_time() - start < 5
    assert view.trie is view.trie
    ranked = [view.token_bytes[id_] for id_ in trie.order]
    for prefix in (b" the", b"\n", b"\xe2", b"<", b" "):
        node = node_of(trie, prefix)
        tokens = ranked[trie.first[node] : trie.last[node]]
        assert len(tokens) == sum(s.startswith(prefix) for s in ranked) > 0
        assert all(s.startswith(prefix) for s in tokens)
    # tokens of the same bytes are neighbours: Gemma has most bytes twice
    twice = int((trie.own_end - trie.first > 1).sum())
    assert twice == len(ranked) - len(set(ranked))
    assert (twice > 100) == (name == "gemma3")
