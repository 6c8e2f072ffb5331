"""Student tokens inside the teacher's: against loops over bytes, with rests that are searched."""

import math
from dataclasses import replace

import pytest
import torch
from tests.objective_cases import assert_same, objective_case, signal_by_hand, vocabulary

from alm_lightning.objectives.baselines.bpm import BytePrefix
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, SideFacts

PAIRS = [
    ("byte_level", "metaspace"),
    ("metaspace", "byte_level"),
    ("bytes", "metaspace"),
    ("bytes", "byte_level"),
]


@pytest.fixture(params=PAIRS, ids="-".join)
def case(request, views):
    return objective_case(*(views[name] for name in request.param))


def longest(view, rest):
    """The longest token that some bytes begin with, by hand, or None."""
    fits = [i for i, s in enumerate(view.token_bytes) if s and rest.startswith(s)]
    most = max((len(view.token_bytes[i]) for i in fits), default=0)
    same = [i for i in fits if len(view.token_bytes[i]) == most]
    return min(same, key=lambda i: (i in view.fallback_ids, i), default=None)


def inner_tokens(case):
    """Row, both positions, and the bytes of the teacher's token before the student's."""
    views, batch = (case.student.view, case.teacher.view), case.batch
    for row in range(len(batch.student.ids)):
        for chunk in range(int(batch.chunk_mask[row].sum())):
            sides = []
            for view, side in zip(views, (batch.student, batch.teacher), strict=True):
                places = [p for p, c in enumerate(side.chunk_ids[row].tolist()) if c == chunk]
                surfaces = [view.token_bytes[side.ids[row, place]] or b"" for place in places]
                sides.append((places, surfaces, b"".join(surfaces)))
            (places, surfaces, ours), (theirs_at, their_surfaces, theirs) = sides
            if ours != theirs:
                # what one side has more is a dummy space; see the test of that
                assert b" " + ours == theirs or ours == b" " + theirs or not (ours and theirs)
                continue
            for number, place in enumerate(places):
                start = len(b"".join(surfaces[:number]))
                begin = 0
                for their_place, surface in zip(theirs_at, their_surfaces, strict=True):
                    if begin < start < begin + len(surface):
                        yield row, place, their_place, surface[: start - begin]
                    begin += len(surface)


def reference(case, mask_whitespace):
    """Sum over tokens, how many there are, and how many of the teacher's are left out as ended."""
    student, teacher = case.student.view, case.teacher.view
    total, count, ended = 0.0, 0, 0
    for row, place, their_place, prefix in inner_tokens(case):
        own = student.token_bytes[case.batch.student.ids[row, place]]
        theirs = teacher.token_bytes[case.batch.teacher.ids[row, their_place]]
        are_white = [surface.strip() == b"" for surface in (own, theirs)]
        if mask_whitespace and (all(are_white) if mask_whitespace == "both" else are_white[0]):
            continue
        count += 1
        probs = case.teacher_logprobs[row, their_place].exp()
        target = torch.zeros(student.num_tokens, dtype=probs.dtype)
        for id_, surface in enumerate(teacher.token_bytes):
            ended += surface == prefix
            if surface and surface.startswith(prefix) and surface != prefix:
                found = longest(student, surface[len(prefix) :])
                if found is not None:
                    target[found] += probs[id_]
        target /= target.sum()
        for mass, logprob in zip(target, case.student_logprobs[row, place], strict=True):
            if mass > 0:
                total = total + mass * (mass.log() - logprob)
    return total, count, ended


@pytest.mark.parametrize("mask_whitespace", [True, "both", False])
@pytest.mark.parametrize("slice_elements", [1000, 2**24])
def test_value_and_gradient(case, mask_whitespace, slice_elements, monkeypatch):
    monkeypatch.setattr("alm_lightning.likelihood.slices.SLICE_ELEMENTS", slice_elements)
    terms = [BytePrefix(mask_whitespace=mask_whitespace, inside=i) for i in (True, False)]
    for term in terms:
        term.setup(case.pair)
    expected, count, ended = reference(case, mask_whitespace)
    assert min(count, ended) > 10
    assert terms[0].weight(case.signal) == terms[1].weight(case.signal) + count
    found = terms[0](case.signal) - terms[1](case.signal)
    assert_same(found, expected, case.student.model.parameters(), value=1e-8, gradient=1e-6)


def test_no_chunk(byte_level_view, metaspace_view):
    case = objective_case(byte_level_view, metaspace_view)
    objective = BytePrefix(mask_whitespace=True, inside=True)
    objective.setup(case.pair)
    nothing = replace(case.signal, chunk_mask=torch.zeros_like(case.signal.chunk_mask))
    assert objective.weight(nothing) == 0
    assert objective(nothing) == 0


def test_a_vocabulary_on_itself_has_no_inside(byte_level_view):
    case = objective_case(byte_level_view, byte_level_view)
    values = []
    for inside in (True, False):
        objective = BytePrefix(mask_whitespace=True, inside=inside)
        objective.setup(case.pair)
        values.append((objective(case.signal).item(), objective.weight(case.signal).item()))
    assert values[0] == values[1]


def test_the_example_of_escd(byte_level_view):
    """arXiv:2609.34738 has these numbers for byte-prefix marginalisation."""
    student = vocabulary(byte_level_view, [b"Br", b"Cat", b"ead", b"eads", b"eak", b"x", None])
    teacher = vocabulary(byte_level_view, [b"Bread", b"Breads", b"Break", b"Cat", None])
    signal = signal_by_hand(
        (
            [6, 0, 2],
            [-1, 0, 0],
            [[0.5, 0.2, 0, 0, 0, 0.2, 0.1], [0.1, 0.1, 0.2, 0.3, 0.1, 0.1, 0.1]],
        ),
        ([4, 0], [-1, 0], [[0.4, 0.2, 0.3, 0.1, 0.0]]),
    )
    values = []
    for inside in (True, False):
        objective = BytePrefix(mask_whitespace=True, inside=inside)
        objective.setup(PairFacts(SideFacts(student, 7, 7), SideFacts(teacher, 5, 5)))
        assert objective.weight(signal) == 1 + inside
        values.append(objective(signal).item())
    assert values[1] == pytest.approx(0.4597, abs=5e-5)
    assert values[0] - values[1] == pytest.approx(0.6895, abs=5e-5)


def test_a_dummy_space_is_no_prefix(byte_level_view):
    """A text "ab": the teacher alone has a space before it, the student a token for each byte."""
    student = vocabulary(byte_level_view, [b"a", b"b", b"c", b" ", None])
    teacher = vocabulary(byte_level_view, [b" ab", b" a", b" acb", b"b", None])
    signal = signal_by_hand(
        ([4, 0, 1], [-1, 0, 0], [[0.2] * 5, [0.1, 0.2, 0.3, 0.2, 0.2]]),
        ([4, 0], [-1, 0], [[0.4, 0.3, 0.2, 0.05, 0.05]]),
    )
    values = []
    for inside in (True, False):
        objective = BytePrefix(mask_whitespace=True, inside=inside)
        objective.setup(PairFacts(SideFacts(student, 5, 5), SideFacts(teacher, 5, 5)))
        assert objective.weight(signal) == 1 + inside
        values.append(objective(signal).item())
    # after " a" come "b" and "cb"; " a" itself is left out
    expected = 2 / 3 * math.log(2 / 3 / 0.2) + 1 / 3 * math.log(1 / 3 / 0.3)
    assert values[0] - values[1] == pytest.approx(expected, abs=1e-9)
