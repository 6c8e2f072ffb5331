"""Counterparts of tokens, and that the one rule changed nothing where two rules were before."""

from dataclasses import dataclass

import numpy as np
import pytest

from alm_lightning.counterparts import NONE, Prefixes, ids_by_bytes, same_bytes


@dataclass
class Vocabulary:
    token_bytes: list
    fallback_ids: frozenset = frozenset()


BYTES = [bytes([byte]) for byte in range(256)]
WORDS = [b"the", b"a", b" a", b"\xc3\xa9", b"the"]
# as Gemma: a fallback of each byte before the ordinary tokens, letters among them
FALLBACK = Vocabulary([None, *BYTES, *WORDS, b"A"], frozenset(range(1, 257)))
# as SmolLM2: byte-level, with some bytes missing, special tokens in front
BYTE_LEVEL = Vocabulary([None, None, *BYTES[:0x80], *WORDS])
# as GPT-2: every byte an ordinary token, special tokens at the end
ALL_BYTES = Vocabulary([*BYTES, b"the", b" a", None])


def by_surface(source, target):
    """The former rule of objectives: of equal bytes the ordinary token, whatever the source's."""
    ids = {}
    for index, surface in enumerate(target.token_bytes):
        if surface and (surface not in ids or ids[surface] in target.fallback_ids):
            ids[surface] = index
    return [ids.get(surface, NONE) if surface else NONE for surface in source.token_bytes]


@pytest.mark.parametrize(
    "pair", [(FALLBACK, BYTE_LEVEL), (FALLBACK, ALL_BYTES), (BYTE_LEVEL, ALL_BYTES)]
)
def test_the_rule_is_the_former_one_unless_both_sides_have_fallbacks(pair):
    for source, target in (pair, pair[::-1]):
        assert same_bytes(source, target).tolist() == by_surface(source, target)


def test_a_fallback_is_the_counterpart_of_a_fallback():
    same = same_bytes(FALLBACK, FALLBACK)
    # "the" is there twice
    assert np.flatnonzero(same != np.arange(len(same))).tolist() == [0, 261]
    assert same[0] == NONE
    assert same[261] == 257
    assert ids_by_bytes(FALLBACK)[b"A"] == 262


def test_the_longest_tokens_from_the_left():
    prefixes = Prefixes(ids_by_bytes(ALL_BYTES))
    assert list(prefixes.cut(b"the a\xff")) == [256, 257, 255]
    assert Prefixes({b"ab": 7}).longest(b"xab", 0) == (NONE, 0)
    assert list(Prefixes({b"ab": 7}).cut(b"xabab")) == [7, 7]
