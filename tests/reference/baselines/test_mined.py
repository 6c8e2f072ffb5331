"""Against a loop over tokens on transformers' own logits, with an edit distance of its own."""

import logging
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.objective_cases import assert_same, objective_case

from alm_lightning.objectives.baselines.mined import MinED, few_kl
from alm_lightning.objectives.chunks.one_to_one import one_to_one
from alm_lightning.objectives.vocabularies.nearest import NearestTokens


@pytest.fixture
def case(byte_level_view, metaspace_view):
    return objective_case(byte_level_view, metaspace_view)


def edit_distance(first, second):
    """Insertions, deletions and replacements of bytes: the table of a textbook."""
    before = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        row = [i]
        for j, b in enumerate(second, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (a != b)))
        before = row
    return before[-1]


def nearest(case, teacher_id):
    """The student's id by hand; None for a special token that it lacks."""
    student, teacher = case.student.view, case.teacher.view
    surface = teacher.token_bytes[teacher_id]
    if surface is None:
        text = next((t for t, i in teacher.special_ids.items() if i == teacher_id), None)
        return student.special_ids.get(text)
    candidates = [i for i, s in enumerate(student.token_bytes) if s]
    return min(candidates, key=lambda i: (edit_distance(student.token_bytes[i], surface), i))


def reference(case, top_k):
    """Sum over the student's tokens, and how many of them have a distribution to learn."""
    total, soft = 0.0, 0
    batch = case.batch
    for row in range(len(batch.student.ids)):
        student, teacher = (
            getattr(batch, side).chunk_ids[row].tolist() for side in ("student", "teacher")
        )
        counts = Counter(student), Counter(teacher)
        for position, chunk in enumerate(student):
            own = int(batch.student.ids[row, position])
            logprobs = case.student_logprobs[row, position]
            if chunk == -1 or counts[0][chunk] != 1 or counts[1][chunk] != 1:
                if batch.student_targets[row, position]:
                    total = total - logprobs[own]
                continue
            place = teacher.index(chunk)
            q = Counter()
            top = case.teacher_logprobs[row, place].exp().topk(top_k)
            for probability, id_ in zip(*(each.tolist() for each in top), strict=True):
                is_own = id_ == int(batch.teacher.ids[row, place])
                target = own if is_own else nearest(case, id_)
                if target is not None:
                    q[target] += probability
            mass = sum(q.values())
            soft += 1
            for id_, probability in q.items():
                share = probability / mass
                total = total + share * (math.log(share) - logprobs[id_])
    return total, soft


@pytest.mark.parametrize("top_k", [1, 10])
@pytest.mark.parametrize("slice_elements", [1000, 2**24])
def test_value_and_gradient(case, top_k, slice_elements, monkeypatch):
    monkeypatch.setattr("alm_lightning.likelihood.slices.SLICE_ELEMENTS", slice_elements)
    objective = MinED(top_k=top_k)
    objective.setup(case.pair)
    expected, soft = reference(case, top_k)
    assert 20 < soft < objective.weight(case.signal)
    # a chunk that is trained on lies among the tokens that are predicted
    assert objective.weight(case.signal) == case.batch.student_targets.sum()
    found = objective(case.signal)
    parameters = case.student.model.parameters()
    assert_same(found, expected, parameters, value=1e-9, gradient=1e-7)


def test_it_is_0_where_the_student_is_its_teacher_and_all_tokens_count(byte_level_view):
    case = objective_case(byte_level_view, byte_level_view, widths=(32, 32))
    case.teacher.model.load_state_dict(case.student.model.state_dict())
    same = case.teacher(case.batch, case.batch.teacher, keep_distributions=True)
    # special tokens that stand for nothing in a text are mapped by how they are written
    objective = MinED(top_k=byte_level_view.num_tokens)
    objective.setup(case.pair)
    assert objective(case.signal).item() > 1.0
    assert objective(replace(case.signal, optional_teacher=same)).item() == pytest.approx(
        0.0, abs=1e-8
    )


def test_nothing_but_lost_tokens(case):
    """The teacher thinks of special tokens that the student lacks: its own token is left."""
    objective = MinED(top_k=3)
    objective.setup(case.pair)
    objective.nearest._student_ids[:] = -1
    objective.nearest._surfaces = [None] * case.teacher.view.num_tokens
    ids, probs = objective.targets(case.signal, one_to_one(case.signal))
    own = case.batch.student.ids.flatten()[one_to_one(case.signal).student_positions].long()
    torch.testing.assert_close(probs.sum(dim=1), torch.ones(len(probs), dtype=probs.dtype))
    assert ((ids == own[:, None]) | (probs == 0)).all()


def test_by_hand():
    logprobs = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64).log()
    # 0.75 on the first, 0.25 on the third: 0.75 log(0.75 / 0.5) + 0.25 log(0.25 / 0.25)
    probs = torch.tensor([[0.5, 0.25, 0.25, 0.0]], dtype=torch.float64)
    found = few_kl(logprobs, torch.tensor([[0, 2, 0, 1]]), probs)
    assert found.item() == pytest.approx(0.75 * math.log(1.5), abs=1e-12)


def test_nearest_tokens(case, byte_level_view):
    tokens = [None, b"the", b" the", b"cat", b"car", b"a"]
    student = replace(byte_level_view, token_bytes=tokens, roles={"eos": 0}, special_ids={})
    asked = [b"the", b"cats", b" then", b"ca", b"x", None, None]
    teacher = replace(byte_level_view, token_bytes=asked, roles={"eos": 6}, special_ids={})
    nearest = NearestTokens(student=student, teacher=teacher)
    # cats: cat at 1. ca: cat, car and a at 1, the lowest id. x: a, at 1. Last, a lost special token
    # and the EOS
    found = nearest(np.array([[0, 1, 2, 3, 4, 5, 6], [1, 1, 1, 1, 1, 1, 1]]))
    assert found.tolist() == [[1, 3, 2, 3, 5, -1, 0], [3] * 7]


def test_a_byte_student_is_warned_of(case, bytes_view, caplog):
    caplog.set_level(logging.INFO)
    objective = MinED(top_k=10)
    objective.setup(case.pair)
    assert caplog.records[-1].levelname == "INFO"
    many = [None, None, None, *(bytes([i]) for i in range(256))]
    many += [b"token %d" % i for i in range(20_000 - 259)]
    big = replace(case.teacher.view, token_bytes=many)
    facts = type(case.pair.student)
    objective.setup(type(case.pair)(facts(bytes_view, 32, 32), facts(big, 48, 48)))
    assert caplog.records[-1].levelname == "WARNING"
    assert "MinED compares" in caplog.text
    assert "the teacher's 20,000 (1.3 %" in caplog.text


@pytest.mark.parametrize("top_k", [0, -3])
def test_a_top_k_that_is_none(top_k):
    with pytest.raises(ValueError, match=r"MinED: top_k"):
        MinED(top_k=top_k)
