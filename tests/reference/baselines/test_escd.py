"""Sets of completions: the published example, and loops over bytes in float64."""

from dataclasses import replace

import pytest
import torch
from tests.objective_cases import assert_same, objective_case, signal_by_hand, vocabulary
from tests.reference.baselines.test_bpm_inside import inner_tokens, longest

from alm_lightning.objectives.baselines.bpm import BytePrefix
from alm_lightning.objectives.baselines.escd import ESCD
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, SideFacts

PAIRS = [("byte_level", "metaspace"), ("metaspace", "byte_level"), ("bytes", "metaspace")]


@pytest.fixture(params=PAIRS, ids="-".join)
def case(request, views):
    return objective_case(*(views[name] for name in request.param))


def groups_of(view, prefix):
    """The shortest of what the tokens have after a prefix, and the ids that begin with each."""
    rests = {s[len(prefix) :] for s in view.token_bytes if s and s.startswith(prefix)} - {b""}
    shortest = [r for r in rests if not any(r != s and r.startswith(s) for s in rests)]
    return {
        rest: [i for i, s in enumerate(view.token_bytes) if s and s.startswith(prefix + rest)]
        for rest in shortest
    }


def reference(case):
    """Sum over tokens, how many there are, and how many groups of each kind."""
    student, teacher = case.student.view, case.teacher.view
    total, count, kinds = 0.0, 0, {"set": 0, "several": 0, "longest": 0, "merged": 0}
    for row, place, their_place, prefix in inner_tokens(case):
        own = student.token_bytes[case.batch.student.ids[row, place]]
        if own.strip() == b"":
            continue
        count += 1
        probs = case.teacher_logprobs[row, their_place].exp()
        logprobs = case.student_logprobs[row, place]
        for rest, ids in groups_of(teacher, prefix).items():
            mass = probs[ids].sum()
            begins = [i for i, s in enumerate(student.token_bytes) if s and s.startswith(rest)]
            kinds["longest" if not begins else "set"] += 1
            kinds["several"] += len(begins) > 1
            kinds["merged"] += len(ids) > 1
            if not begins:
                found = longest(student, rest)
                begins = [] if found is None else [found]
            if begins:
                total = total - mass * logprobs[begins].exp().sum().log()
    return total, count, kinds


@pytest.mark.parametrize("slice_elements", [1000, 2**24])
def test_value_and_gradient(case, slice_elements, monkeypatch):
    monkeypatch.setattr("alm_lightning.likelihood.slices.SLICE_ELEMENTS", slice_elements)
    terms = [ESCD(mask_whitespace=True), BytePrefix(mask_whitespace=True, inside=False)]
    for term in terms:
        term.setup(case.pair)
    expected, count, kinds = reference(case)
    assert count > 10
    assert all(kinds.values()) or "bytes" in case.student.view.name
    assert terms[0].weight(case.signal) == terms[1].weight(case.signal) + count
    found = terms[0](case.signal) - terms[1](case.signal)
    assert_same(found, expected, case.student.model.parameters(), value=1e-8, gradient=1e-6)


def test_the_published_example(byte_level_view):
    student = vocabulary(byte_level_view, [b"Br", b"Cat", b"ead", b"eads", b"eak", b"x", None])
    teacher = vocabulary(byte_level_view, [b"Bread", b"Breads", b"Break", b"Cat", None])
    at_root, after_br = [0.5, 0.2, 0, 0, 0, 0.2, 0.1], [0.1, 0.1, 0.2, 0.3, 0.1, 0.1, 0.1]
    signal = signal_by_hand(
        ([6, 0, 2], [-1, 0, 0], [at_root, after_br]),
        ([4, 0], [-1, 0], [[0.4, 0.2, 0.3, 0.1, 0.0]]),
    )
    pair = PairFacts(SideFacts(student, 7, 7), SideFacts(teacher, 5, 5))
    terms = [ESCD(mask_whitespace=True), BytePrefix(mask_whitespace=True, inside=False)]
    for term in terms:
        term.setup(pair)
    whole, root = (term(signal).item() for term in terms)
    assert whole == pytest.approx(1.5664, abs=5e-5)
    assert root == pytest.approx(0.4597, abs=5e-5)
    # the child, of the published value
    assert whole - root == pytest.approx(1.1067, abs=5e-5)
    assert terms[0].weight(signal) == 2


def test_no_chunk(byte_level_view, metaspace_view):
    case = objective_case(byte_level_view, metaspace_view)
    objective = ESCD(mask_whitespace=True)
    objective.setup(case.pair)
    nothing = replace(case.signal, chunk_mask=torch.zeros_like(case.signal.chunk_mask))
    assert objective.weight(nothing) == 0
    assert objective(nothing) == 0
