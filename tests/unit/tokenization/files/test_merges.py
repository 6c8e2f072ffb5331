import itertools
import logging

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from alm_lightning.tokenization.files import merges as merges_module
from alm_lightning.tokenization.files.merges import merges_of


def bpe_by_rank(text: str, ranks: dict[str, int]) -> list[str]:
    """BPE as rank files mean it: whole, or else by pairs of the lowest rank, leftmost first."""
    if text in ranks:
        return [text]
    parts = list(text)
    while True:
        pairs = [a + b for a, b in itertools.pairwise(parts)]
        known = [(ranks[pair], place) for place, pair in enumerate(pairs) if pair in ranks]
        if not known:
            return parts
        _, place = min(known)
        parts[place : place + 2] = [parts[place] + parts[place + 1]]


@given(
    st.sets(st.text("abc", min_size=2, max_size=5), max_size=20)
    .map(sorted)
    .flatmap(st.permutations),
    st.lists(st.text("abc", max_size=12), max_size=10),
)
def test_a_bpe_with_these_merges_is_the_one_by_rank(tokens, texts):
    # any tokens in any order, not only such as training gives
    ranks = {token: rank for rank, token in enumerate(["a", "b", "c", *tokens])}
    merges, unreachable = merges_of(ranks)
    assert len(merges) + len(unreachable) == len(tokens)
    backend = Tokenizer(models.BPE(vocab=ranks, merges=merges, ignore_merges=True))
    for text in [*texts, *tokens]:
        assert backend.encode(text).tokens == bpe_by_rank(text, ranks)


def test_a_token_that_merging_never_makes_is_told():
    # 'bc' comes before 'ab', so 'ab' + 'c' never meet
    merges, unreachable = merges_of({"a": 0, "b": 1, "c": 2, "d": 3, "cd": 4, "bc": 5, "bcd": 6})
    assert merges == [("c", "d"), ("b", "c"), ("b", "cd")]
    assert unreachable == []
    assert merges_of({"a": 0, "b": 1, "c": 2, "bc": 3, "abcx": 4})[1] == ["abcx"]


def test_equal_ranks_grow_from_the_left():
    # SentencePiece gives one score to all runs of spaces, and takes the leftmost pair of equal ones
    ranks = {"_" * n: 7 for n in (1, 2, 3, 4, 6)}
    merges, _ = merges_of(ranks)
    vocabulary = {token: len(token) for token in ranks}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    for length in range(1, 20):
        parts, text = ["_"] * length, "_" * length
        while True:
            places = [i for i in range(len(parts) - 1) if parts[i] + parts[i + 1] in ranks]
            if not places:
                break
            parts[places[0] : places[0] + 2] = [parts[places[0]] + parts[places[0] + 1]]
        assert backend.encode(text).tokens == parts


def test_a_long_recovery_is_logged(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(merges_module, "SLOW_SECONDS", -1.0)
    merges_of({b"a": 0, b"aa": 1})
    assert "merges of 2 tokens" in caplog.text
