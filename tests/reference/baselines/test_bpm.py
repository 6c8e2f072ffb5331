"""Against a loop over chunks on transformers' own logits, with prefixes that are searched for."""

import logging
import math
from dataclasses import replace

import pytest
import torch
from tests.objective_cases import assert_same, objective_case, signal_by_hand, vocabulary

from alm_lightning.objectives.baselines.bpm import BytePrefix
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, SideFacts

PAIRS = [("byte_level", "metaspace"), ("metaspace", "byte_level"), ("bytes", "metaspace")]


@pytest.fixture(params=PAIRS, ids="-".join)
def case(request, views):
    return objective_case(*(views[name] for name in request.param))


def phi(case, teacher_id):
    """The student's id by hand, or None."""
    student, teacher = case.student.view, case.teacher.view
    surface = teacher.token_bytes[teacher_id]
    if surface is None:
        if teacher_id == teacher.id_of("eos"):
            return student.id_of("eos")
        text = next((t for t, i in teacher.special_ids.items() if i == teacher_id), None)
        return student.special_ids.get(text)
    fits = [i for i, s in enumerate(student.token_bytes) if s and surface.startswith(s)]
    ordinary = [i for i in fits if i not in student.fallback_ids]
    longest = max((len(student.token_bytes[i]) for i in fits), default=0)
    for ids in (ordinary, fits):
        same = [i for i in ids if len(student.token_bytes[i]) == longest]
        if same:
            return max(same) if ids is fits else min(same)
    return None


def tokens_of(ids, chunks, chunk):
    """Positions of a chunk's tokens."""
    return [position for position, c in enumerate(chunks.tolist()) if c == chunk]


def reference(case, mask_whitespace):
    """Sum over chunks, how many there are, and for how many mass was moved."""
    map_ = [phi(case, id_) for id_ in range(case.teacher.view.num_tokens)]
    reached = {id_ for id_ in map_ if id_ is not None}
    total, count, moved = 0.0, 0, 0
    batch, surfaces = case.batch, (case.student.view.token_bytes, case.teacher.view.token_bytes)
    for row in range(len(batch.student.ids)):
        for chunk in range(int(batch.chunk_mask[row].sum())):
            at_s = tokens_of(batch.student.ids[row], batch.student.chunk_ids[row], chunk)
            at_t = tokens_of(batch.teacher.ids[row], batch.teacher.chunk_ids[row], chunk)
            own = int(batch.student.ids[row, at_s[0]])
            firsts = [surfaces[0][own], surfaces[1][batch.teacher.ids[row, at_t[0]]]]
            are_white = [(surface or b"x").strip() == b"" for surface in firsts]
            if mask_whitespace and (all(are_white) if mask_whitespace == "both" else are_white[0]):
                continue
            count += 1
            p = case.teacher_logprobs[row, at_t[0]].exp()
            q = torch.zeros(case.student.view.num_tokens, dtype=p.dtype)
            other = torch.zeros((), dtype=p.dtype)
            for id_, target in enumerate(map_):
                if target is None:
                    other += p[id_]
                else:
                    q[target] += p[id_]
            # the teacher's tokens up to the end of the student's
            spelled, spanned = 0, []
            for place in at_t:
                if spanned and spelled >= len(surfaces[0][own] or b""):
                    break
                spanned.append(place)
                spelled += len(surfaces[1][batch.teacher.ids[row, place]] or b"")
            if len(spanned) > 1 or (len(at_s), len(at_t)) == (1, 1):
                mass = torch.tensor(1.0, dtype=p.dtype)
                for place in spanned:
                    id_ = batch.teacher.ids[row, place]
                    mass *= case.teacher_logprobs[row, place, id_].exp()
                first = map_[batch.teacher.ids[row, at_t[0]]]
                moved += first != own
                if first is None:
                    other -= mass
                else:
                    q[first] -= mass
                q[own] += mass
            student = case.student_logprobs[row, at_s[0]]
            rest = [i for i in range(len(student)) if i not in reached and i != own]
            least = torch.tensor(1e-12, dtype=p.dtype)
            share = torch.maximum(student[rest].exp().sum(), least).log()
            for mass, logprob in zip([*q, other], [*student, share], strict=True):
                if mass > 0:
                    total = total + mass * (mass.log() - logprob)
    return total, count, moved


@pytest.mark.slow
@pytest.mark.parametrize("mask_whitespace", [True, "both", False])
@pytest.mark.parametrize("slice_elements", [1000, 2**24])
def test_value_and_gradient(case, mask_whitespace, slice_elements, monkeypatch):
    monkeypatch.setattr("alm_lightning.likelihood.slices.SLICE_ELEMENTS", slice_elements)
    objective = BytePrefix(mask_whitespace=mask_whitespace, inside=False)
    objective.setup(case.pair)
    expected, count, moved = reference(case, mask_whitespace)
    assert count > 20
    # no byte goes on beyond a token of the teacher
    assert moved > 0 or "bytes" in case.student.view.name
    assert objective.weight(case.signal) == count
    found = objective(case.signal)
    parameters = case.student.model.parameters()
    assert_same(found, expected, parameters, value=1e-9, gradient=1e-7)


def test_whitespace_is_left_out(byte_level_view, metaspace_view):
    case = objective_case(byte_level_view, metaspace_view)
    counts = []
    for mask_whitespace in (True, False):
        objective = BytePrefix(mask_whitespace=mask_whitespace, inside=False)
        objective.setup(case.pair)
        counts.append(int(objective.weight(case.signal)))
    assert counts[0] < counts[1] <= int(case.batch.chunk_mask.sum())


def test_it_is_0_where_the_student_is_its_teacher(byte_level_view):
    case = objective_case(byte_level_view, byte_level_view, widths=(32, 32))
    case.teacher.model.load_state_dict(case.student.model.state_dict())
    same = case.teacher(case.batch, case.batch.teacher, keep_distributions=True)
    objective = BytePrefix(mask_whitespace=True, inside=False)
    objective.setup(case.pair)
    assert objective(case.signal).item() > 1.0
    found = objective(replace(case.signal, optional_teacher=same)).item()
    assert found == pytest.approx(0.0, abs=1e-8)


def test_prefixes_by_hand(byte_level_view):
    student = vocabulary(byte_level_view, [b"a", b"ab", b"abcd", b" ", b"  \n", b"z"])
    teacher = vocabulary(byte_level_view, [b"abc", b"abcde", b"a", b"ba", None])
    objective = BytePrefix(mask_whitespace=True, inside=False)
    objective.setup(PairFacts(SideFacts(student, 8, 8), SideFacts(teacher, 8, 8)))
    map_ = objective.prefixes
    assert map_.columns.tolist() == [1, 2, 0, 6, 6]
    assert map_.unreached.tolist() == [3, 4, 5]
    assert map_.is_whitespace.tolist() == [False, False, False, True, True, False]
    probs = torch.tensor([[0.1, 0.2, 0.3, 0.15, 0.25]])
    expected = torch.tensor([[0.3, 0.1, 0.2, 0.0, 0.0, 0.0, 0.4]])
    torch.testing.assert_close(map_(probs), expected)


def test_a_token_that_is_two_of_the_teacher(byte_level_view):
    """A text "ab": one token of the student, "a" and "b" of the teacher."""
    student = vocabulary(byte_level_view, [b"ab", b"a", b"b", None])
    teacher = vocabulary(byte_level_view, [b"a", b"b", None])
    objective = BytePrefix(mask_whitespace=True, inside=False)
    objective.setup(PairFacts(SideFacts(student, 4, 4), SideFacts(teacher, 3, 3)))
    signal = signal_by_hand(
        ([3, 0], [-1, 0], [[0.25, 0.5, 0.125, 0.125]]),
        ([2, 0, 1], [-1, 0, 0], [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]]),
    )
    # of 0.5 on "a", 0.5 * 0.5 move to "ab"; "b" and the special token keep 0.25 each
    expected = 0.25 * sum(map(math.log, (0.25 / 0.25, 0.25 / 0.5, 0.25 / 0.125, 0.25 / 0.125)))
    assert objective.weight(signal) == 1
    assert objective(signal).item() == pytest.approx(expected, abs=1e-12)


def test_what_it_covers_is_told(byte_level_view, bytes_view, metaspace_view, caplog):
    caplog.set_level(logging.INFO)
    objective = BytePrefix(mask_whitespace=True, inside=False)
    sides = {"bytes": bytes_view, "metaspace": metaspace_view}
    many = [*(bytes([i]) for i in range(256)), *(b"token %d" % i for i in range(20_000 - 256))]
    sides["many"] = vocabulary(byte_level_view, many)
    facts = {name: SideFacts(view, 8, 8) for name, view in sides.items()}
    # every token of the teacher begins with a byte
    objective.setup(PairFacts(facts["bytes"], facts["many"]))
    assert caplog.records[-1].levelname == "INFO"
    assert "20,000 of the teacher's 20,000" in caplog.text
    assert f"256 of the student's {bytes_view.num_tokens}" in caplog.text
    # a byte begins with one byte alone
    objective.setup(PairFacts(facts["many"], facts["bytes"]))
    assert caplog.records[-1].levelname == "WARNING"
    assert "256 of the student's 20,000" in caplog.text


def test_no_chunk(byte_level_view, metaspace_view):
    case = objective_case(byte_level_view, metaspace_view)
    objective = BytePrefix(mask_whitespace=True, inside=False)
    objective.setup(case.pair)
    nothing = replace(case.signal, chunk_mask=torch.zeros_like(case.signal.chunk_mask))
    assert objective.weight(nothing) == 0
    assert objective(nothing) == 0
