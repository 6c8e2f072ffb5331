"""Against a loop over chunks on transformers' own logits, with a dense matrix made by hand."""

import logging
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.objective_cases import assert_same, objective_case

from alm_lightning.likelihood.distributions import Distributions
from alm_lightning.objectives.baselines.xtoken_p_kl import ProjectedKL
from alm_lightning.objectives.chunks.token_runs import token_runs
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, SideFacts
from alm_lightning.objectives.vocabularies.projection import Projection
from alm_lightning.tokenization.trie import VocabularyTrie

PAIRS = [("byte_level", "metaspace"), ("metaspace", "byte_level"), ("bytes", "metaspace")]
DECAY = 0.1


@pytest.fixture(params=PAIRS, ids="-".join)
def case(request, views):
    return objective_case(*(views[name] for name in request.param))


def id_of_bytes(view, surface):
    same = [i for i, s in enumerate(view.token_bytes) if s == surface]
    same.sort(key=lambda i: (i in view.fallback_ids, -i if i not in view.fallback_ids else i))
    return same[0] if same else None


def cut(view, surface):
    """The pieces of a token: by its tokenizer, or the longest from the left."""
    try:
        return view.encode(surface.decode(), continued=True).ids.tolist()
    except UnicodeDecodeError:
        pieces = []
        while surface:
            ends = range(len(surface), 0, -1)
            end = next(n for n in ends if surface[:n] in view.token_bytes)
            pieces.append(id_of_bytes(view, surface[:end]))
            surface = surface[end:]
        return pieces


def matrix(student, teacher):
    """All of W, a row at a time."""
    found = torch.zeros(student.num_tokens, teacher.num_tokens, dtype=torch.float64)
    for id_, surface in enumerate(student.token_bytes):
        if surface is None:
            text = next((t for t, i in student.special_ids.items() if i == id_), None)
            same = teacher.special_ids.get(text)
            if id_ == student.id_of("eos"):
                same = teacher.id_of("eos")
        else:
            same = id_of_bytes(teacher, surface)
        if same is not None:
            found[id_, same] = 1.0
        elif surface:
            pieces = [i for i in cut(teacher, surface) if teacher.token_bytes[i]]
            for place, piece in enumerate(pieces):
                found[id_, piece] += DECAY**place
    return found / found.sum(dim=1, keepdim=True).clamp_min(1e-300)


def reference(case, temperature):
    """Sum over chunks, how many there are, and how many have several positions."""
    w = matrix(case.student.view, case.teacher.view)
    reached = w.sum(dim=0) > 0
    total, count, several = 0.0, 0, 0
    batch = case.batch
    for row in range(len(batch.student.ids)):
        for chunk in range(int(batch.chunk_mask[row].sum())):
            at_s = (batch.student.chunk_ids[row] == chunk).nonzero().flatten()
            at_t = (batch.teacher.chunk_ids[row] == chunk).nonzero().flatten()
            if any(w[i].sum() == 0 for i in batch.student.ids[row, at_s].long()):
                continue
            count += 1
            several += len(at_s) > 1 or len(at_t) > 1
            student = [(case.student_logprobs[row, i] / temperature).softmax(0) for i in at_s]
            q = (sum(student) / len(student)) @ w
            q = q[reached] / q[reached].sum()
            logs = [
                (case.teacher_logprobs[row, i][reached] / temperature).log_softmax(0) for i in at_t
            ]
            log_p = sum(logs) / len(logs)
            total = total + temperature**2 * (log_p.exp() * (log_p - q.log())).sum()
    return total, count, several


@pytest.mark.parametrize("temperature", [1, 2.5])
@pytest.mark.parametrize("slice_elements", [10_000, 2**24])
def test_value_and_gradient(case, temperature, slice_elements, monkeypatch):
    monkeypatch.setattr("alm_lightning.likelihood.slices.SLICE_ELEMENTS", slice_elements)
    objective = ProjectedKL(temperature=temperature, decay=DECAY)
    objective.setup(case.pair)
    expected, count, several = reference(case, temperature)
    assert count > 20
    assert several > 5
    assert objective.weight(case.signal) == count
    found = objective(case.signal)
    # the weights are float32
    parameters = case.student.model.parameters()
    assert_same(found, expected, parameters, value=1e-6, gradient=1e-4)


def test_slices_hold_no_more_positions_than_they_may(case, monkeypatch):
    """However long the chunks of a slice are; a chunk is never cut."""
    objective = ProjectedKL(temperature=1, decay=DECAY)
    objective.setup(case.pair)
    runs = token_runs(case.signal)
    most = max(int(side.counts.max()) for side in (runs.student, runs.teacher))
    views = (case.student.view, case.teacher.view)
    widest = max(*(view.num_tokens for view in views), len(objective.projection.weights))
    monkeypatch.setattr("alm_lightning.likelihood.slices.SLICE_ELEMENTS", most * widest)
    made = []
    logprobs = Distributions.logprobs
    monkeypatch.setattr(
        Distributions, "logprobs", lambda *args: made.append(len(args[1])) or logprobs(*args)
    )
    objective(case.signal)
    assert max(made) <= most
    # two slices in a row were too many positions for one, on both sides together
    assert (
        len(made) / 2 < 1 + 2 * (len(runs.student.positions) + len(runs.teacher.positions)) / most
    )


def test_the_matrix(case):
    projection = Projection(case.pair, decay=DECAY)
    expected = matrix(case.student.view, case.teacher.view)
    found = torch.zeros_like(expected)
    eye = torch.eye(len(expected), dtype=expected.dtype)
    found[:, projection.teacher_ids] = projection(eye)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    assert projection.has_row.tolist() == (expected.sum(dim=1) > 0).tolist()


class Letters:
    """Cuts texts into letters."""

    def ids_of_many(self, texts):
        letters = ["xabc".index(letter) for text in texts for letter in text]
        return np.array(letters), np.array([len(text) for text in texts])


def vocabulary(tokens):
    return SimpleNamespace(
        name="by hand",
        token_bytes=tokens,
        roles={},
        special_ids={},
        end_of_turn_id=None,
        fallback_ids=frozenset(),
        num_tokens=len(tokens),
        encoder=Letters(),
        trie=VocabularyTrie(tokens),
    )


def test_the_matrix_by_hand():
    student = vocabulary([b"a", b"ab", b"bcb", None, b"\xff"])
    teacher = vocabulary([b"x", b"a", b"b", b"c"])
    facts = PairFacts(SideFacts(student, 8, 8), SideFacts(teacher, 8, 8))
    projection = Projection(facts, decay=DECAY)
    assert projection.teacher_ids.tolist() == [1, 2, 3]
    assert projection.num_same == 1
    assert projection.has_row.tolist() == [True, True, True, False, False]
    rows = [[1, 0, 0], [1 / 1.1, 0.1 / 1.1, 0], [0, 1.01 / 1.11, 0.1 / 1.11], [0] * 3, [0] * 3]
    torch.testing.assert_close(projection(torch.eye(5)), torch.tensor(rows))


def test_it_is_0_where_the_student_is_its_teacher(byte_level_view):
    case = objective_case(byte_level_view, byte_level_view, widths=(32, 32))
    case.teacher.model.load_state_dict(case.student.model.state_dict())
    same = case.teacher(case.batch, case.batch.teacher, keep_distributions=True)
    objective = ProjectedKL(temperature=1, decay=DECAY)
    objective.setup(case.pair)
    assert objective(case.signal).item() > 1.0
    assert objective(replace(case.signal, optional_teacher=same)).item() == pytest.approx(
        0.0, abs=1e-8
    )


def test_a_byte_student_is_warned_of(case, bytes_view, caplog):
    caplog.set_level(logging.INFO)
    objective = ProjectedKL(temperature=1, decay=DECAY)
    objective.setup(case.pair)
    assert caplog.records[-1].levelname == "INFO"
    many = [None, None, None, *(bytes([i]) for i in range(256))]
    many += [b"token %d" % i for i in range(20_000 - 259)]
    big = replace(case.teacher.view, token_bytes=many)
    objective.setup(PairFacts(SideFacts(bytes_view, 32, 32), SideFacts(big, 48, 48)))
    assert caplog.records[-1].levelname == "WARNING"
    assert "ProjectedKL compares" in caplog.text


def test_a_student_that_excludes_a_token_for_good(byte_level_view, metaspace_view):
    """Probabilities that float32 can't tell from 0 leave value and gradient finite."""
    case = objective_case(byte_level_view, metaspace_view)
    objective = ProjectedKL(temperature=1, decay=DECAY)
    objective.setup(case.pair)
    logits = torch.full((1, byte_level_view.num_tokens), -300.0)
    logits[0, 70] = 0.0
    logits.requires_grad_()
    log_q = objective._projected(logits.softmax(dim=1))
    (gradient,) = torch.autograd.grad(log_q.mean(), logits)
    assert math.isfinite(log_q.sum().item())
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"temperature": 0, "decay": 0.1}, "temperature"),
        ({"temperature": 1, "decay": 1.5}, "decay"),
        ({"temperature": 1, "decay": -0.1}, "decay"),
    ],
)
def test_settings_that_are_none(settings, named):
    with pytest.raises(ValueError, match=rf"ProjectedKL: {named} is"):
        ProjectedKL(**settings)
