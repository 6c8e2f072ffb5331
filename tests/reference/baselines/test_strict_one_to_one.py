"""Against a loop over chunks on transformers' own logits."""

import logging
from collections import Counter

import pytest
import torch
from tests.objective_cases import assert_same, objective_case

from alm_lightning.objectives.baselines.strict_one_to_one import StrictOneToOne


@pytest.fixture
def case(byte_level_view, metaspace_view):
    return objective_case(byte_level_view, metaspace_view)


def shared_pairs(student, teacher):
    """By hand: the same bytes, a byte-fallback token last; or special tokens of one text."""
    pairs = {}
    for view, place in ((student, 0), (teacher, 1)):
        for id_ in sorted(range(view.num_tokens), key=lambda i: (i in view.fallback_ids, i)):
            if view.token_bytes[id_]:
                pairs.setdefault(view.token_bytes[id_], [None, None])
                if pairs[view.token_bytes[id_]][place] is None:
                    pairs[view.token_bytes[id_]][place] = id_
    found = [tuple(pair) for pair in pairs.values() if None not in pair]
    both = student.special_ids.keys() & teacher.special_ids.keys()
    assert student.special_ids[text_of(student, "eos")] in [student.special_ids[t] for t in both]
    return [*found, *((student.special_ids[text], teacher.special_ids[text]) for text in both)]


def text_of(view, role):
    return next(text for text, id_ in view.special_ids.items() if id_ == view.id_of(role))


def reference(case, temperature):
    """Sum over chunks of one token on both sides, and how many there are."""
    pairs = shared_pairs(case.student.view, case.teacher.view)
    student_ids, teacher_ids = (torch.tensor(ids) for ids in zip(*pairs, strict=True))
    total, count = 0.0, 0
    batch = case.batch
    for row in range(len(batch.student.ids)):
        student = Counter(batch.student.chunk_ids[row].tolist())
        teacher = Counter(batch.teacher.chunk_ids[row].tolist())
        for chunk in range(int(batch.chunk_mask[row].sum())):
            if student[chunk] != 1 or teacher[chunk] != 1:
                continue
            s = batch.student.chunk_ids[row].tolist().index(chunk)
            t = batch.teacher.chunk_ids[row].tolist().index(chunk)
            if (int(batch.student.ids[row, s]), int(batch.teacher.ids[row, t])) not in pairs:
                continue
            count += 1
            q = (case.student_logprobs[row, s, student_ids] / temperature).softmax(0)
            p = (case.teacher_logprobs[row, t, teacher_ids] / temperature).softmax(0)
            total = total + temperature**2 * (p * (p / q).log()).sum()
    return total, count


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("slice_elements", [1000, 2**24])
def test_value_and_gradient(case, temperature, slice_elements, monkeypatch):
    monkeypatch.setattr("alm_lightning.likelihood.slices.SLICE_ELEMENTS", slice_elements)
    objective = StrictOneToOne(temperature=temperature)
    objective.setup(case.pair)
    expected, count = reference(case, temperature)
    assert count > 20
    assert objective.weight(case.signal) == count
    found = objective(case.signal)
    parameters = case.student.model.parameters()
    assert_same(found, expected, parameters, value=1e-9, gradient=1e-7)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("vocabulary", ["byte_level_view", "metaspace_view"])
def test_of_one_vocabulary_all_tokens_count(vocabulary, temperature, request):
    """Also byte-fallback tokens, whose bytes an ordinary token may have as well."""
    view = request.getfixturevalue(vocabulary)
    case = objective_case(view, view, widths=(32, 48))
    objective = StrictOneToOne(temperature=temperature)
    objective.setup(case.pair)
    student, teacher = objective._positions(case.signal)
    assert len(student) > 20
    q = (case.student_logprobs.flatten(0, 1)[student] / temperature).softmax(1)
    p = (case.teacher_logprobs.flatten(0, 1)[teacher] / temperature).softmax(1)
    expected = temperature**2 * (p * (p / q).log()).sum()
    found = objective(case.signal)
    assert_same(found, expected, case.student.model.parameters(), value=1e-9, gradient=1e-7)


def test_it_is_0_where_the_student_is_its_teacher(byte_level_view):
    case = objective_case(byte_level_view, byte_level_view, widths=(32, 32))
    case.teacher.model.load_state_dict(case.student.model.state_dict())
    same = case.teacher(case.batch, case.batch.teacher, keep_distributions=True)
    signal = type(case.signal)(**{**vars(case.signal), "optional_teacher": same})
    objective = StrictOneToOne(temperature=1.0)
    objective.setup(case.pair)
    assert objective(case.signal).item() > 1.0
    assert objective(signal).item() == pytest.approx(0.0, abs=1e-9)


def test_a_byte_student_is_warned_of(case, bytes_view, caplog):
    caplog.set_level(logging.INFO)
    objective = StrictOneToOne(temperature=1.0)
    objective.setup(case.pair)
    assert caplog.records[-1].levelname == "INFO"
    big = type(case.teacher.view)(**{**vars_of(case.teacher.view), "token_bytes": many_tokens()})
    facts = type(case.pair.student)
    objective.setup(type(case.pair)(facts(bytes_view, 32, 32), facts(big, 48, 48)))
    assert caplog.records[-1].levelname == "WARNING"
    assert "StrictOneToOne compares tokens that have a counterpart: 259 of" in caplog.text
    assert "259 of the teacher's 20,000 (1.3 %" in caplog.text


def vars_of(view):
    return {name: getattr(view, name) for name in view.__dataclass_fields__}


def many_tokens():
    bytes_ = [bytes([i]) for i in range(256)]
    return [None, None, None, *bytes_, *(b"token %d" % i for i in range(20_000 - 259))]


@pytest.mark.parametrize("temperature", [0, -1.0])
def test_a_temperature_that_is_none(temperature):
    with pytest.raises(ValueError, match=r"StrictOneToOne: temperature is"):
        StrictOneToOne(temperature=temperature)
