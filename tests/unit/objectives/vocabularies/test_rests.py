"""The student's tokens for every rest of every token of the teacher, against searches."""

import random
from dataclasses import replace

import numpy as np
import pytest
from tests.objective_cases import vocabulary

from alm_lightning.counterparts import NONE
from alm_lightning.objectives.vocabularies.completions import CompletionSets
from alm_lightning.objectives.vocabularies.counterparts import longest_prefixes
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, SideFacts
from alm_lightning.objectives.vocabularies.rests import RestMap, follow


def random_view(view, seed):
    """Short tokens of few letters: many begin with others, some are there twice, some are empty."""
    chosen = random.Random(seed)
    tokens = [bytes(chosen.choices(b"aabc", k=chosen.randint(0, 5))) or None for _ in range(15)]
    fallback = frozenset(i for i, s in enumerate(tokens) if s and i % 2)
    return replace(vocabulary(view, tokens), fallback_ids=fallback)


def longest(view, rest):
    fits = [i for i, s in enumerate(view.token_bytes) if s and rest.startswith(s)]
    order = {i: (-len(view.token_bytes[i]), i in view.fallback_ids, i) for i in fits}
    return min(fits, key=order.get, default=None)


@pytest.fixture(params=range(8))
def pair(request, byte_level_view):
    views = [random_view(byte_level_view, 2 * request.param + side) for side in (0, 1)]
    return PairFacts(*(SideFacts(view, 8, 8) for view in views))


def test_the_longest_token_of_each_rest(pair):
    student = pair.student.view
    expected = [
        longest(student, surface[start:])
        for surface in filter(None, pair.teacher.view.token_bytes)
        for start in range(len(surface))
    ]
    expected = [student.num_tokens if id_ is None else id_ for id_ in expected]
    assert RestMap(pair).columns.tolist() == expected


def test_the_sets_of_each_rest(pair):
    student, teacher = pair.student.view, pair.teacher.view
    sets = CompletionSets(pair)
    order = sets.order.tolist()
    place = num_sets = 0
    for surface in filter(None, teacher.token_bytes):
        for start in range(len(surface)):
            ends = range(start + 1, len(surface) + 1)
            rest = next(surface[start:end] for end in ends if surface[:end] in teacher.token_bytes)
            wanted = {i for i, s in enumerate(student.token_bytes) if s and s.startswith(rest)}
            num_sets += bool(wanted)
            first, last = int(sets.set_starts[place]), int(sets.set_ends[place])
            assert set(order[first:last]) == (wanted or {longest(student, rest)} - {None})
            place += 1
    assert 0 < num_sets < place


def test_a_whole_token_is_moved_as_at_the_start_of_a_chunk(byte_level_view, metaspace_view):
    views = (byte_level_view, metaspace_view)
    for source, target in (views, views[::-1]):
        trie = source.trie
        longest, nodes = follow(
            source, target, np.repeat(trie.path_start + trie.lengths, trie.lengths)
        )
        with_bytes = np.flatnonzero(trie.lengths)
        starts = trie.path_start[with_bytes]
        expected = longest_prefixes(source, target)[with_bytes]
        # which of a fallback and an ordinary token of the same bytes is meant may differ there
        surfaces = [*target.token_bytes, None]
        assert [surfaces[i] for i in longest[starts]] == [surfaces[i] for i in expected]
        assert set((nodes[starts] == NONE).tolist()) == {True, False}
