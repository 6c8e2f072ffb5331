"""Against a loop over chunks on transformers' own logits, and numbers by hand."""

from dataclasses import replace
from math import log

import pytest
import torch
from tests.objective_cases import assert_same, objective_case

from alm_lightning.objectives.baselines.gold import GOLD, generalised_jsd


@pytest.fixture
def case(byte_level_view, metaspace_view):
    return objective_case(byte_level_view, metaspace_view)


def shared_pairs(student, teacher):
    """By hand: the same bytes, or both EOS; a byte-fallback token last."""
    of_bytes = []
    for view in (student, teacher):
        order = sorted(range(view.num_tokens), key=lambda i: (i in view.fallback_ids, i))
        found = {}
        for id_ in order:
            if view.token_bytes[id_]:
                found.setdefault(view.token_bytes[id_], id_)
        of_bytes.append(found)
    pairs = [(id_, of_bytes[1][b]) for b, id_ in of_bytes[0].items() if b in of_bytes[1]]
    both = student.special_ids.keys() & teacher.special_ids.keys()
    return [*pairs, *((student.special_ids[text], teacher.special_ids[text]) for text in both)]


def merged(case, side, row, chunk):
    """The distribution at the first token, times the probabilities of the others."""
    ids = getattr(case.batch, side).ids[row]
    places = (getattr(case.batch, side).chunk_ids[row] == chunk).nonzero().flatten().tolist()
    logprobs = getattr(case, f"{side}_logprobs")[row]
    probs = logprobs[places[0]].exp()
    for place in places[1:]:
        probs = probs * logprobs[place, ids[place]].exp()
    return probs, len(places)


def reference(case, beta, weights):
    """Sum over chunks; how many there are, and how many have several tokens."""
    student, teacher = case.student.view, case.teacher.view
    pairs = shared_pairs(student, teacher)
    shared = [list(ids) for ids in zip(*pairs, strict=True)]
    rest = [
        [id_ for id_ in range(view.num_tokens) if id_ not in ids]
        for view, ids in zip((student, teacher), shared, strict=True)
    ]
    if weights == (None, None):
        weights = (len(pairs) / teacher.num_tokens, 1 - len(pairs) / teacher.num_tokens)
    total, count, several = 0.0, 0, 0
    for row in range(len(case.batch.student.ids)):
        for chunk in range(int(case.batch.chunk_mask[row].sum())):
            q, num_student = merged(case, "student", row, chunk)
            p, num_teacher = merged(case, "teacher", row, chunk)
            count, several = count + 1, several + (num_student > 1 or num_teacher > 1)
            a, b = q[shared[0]], p[shared[1]]
            if beta in (0, 1):
                divergence = (b * (b / a).log()).sum() if beta == 0 else (a * (a / b).log()).sum()
            else:
                m = beta * b + (1 - beta) * a
                divergence = beta * (b * (b / m).log()).sum()
                divergence = divergence + (1 - beta) * (a * (a / m).log()).sum()
            lists = torch.zeros(2, max(len(ids) for ids in rest), dtype=torch.float64)
            for index, (probs, ids) in enumerate(zip((q, p), rest, strict=True)):
                lists[index, : len(ids)] = probs[ids].sort(descending=True).values
            distance = (lists[0] - lists[1]).abs().sum()
            total = total + weights[0] * divergence + weights[1] * distance
    return total, count, several


@pytest.mark.parametrize(
    ("beta", "weights", "slice_elements"),
    [
        (0.5, (None, None), 2**24),
        (0.5, (None, None), 1000),
        (0.1, (1.0, 0.0), 2**24),
        (0, (2.0, 0.5), 2**24),
        (1, (0.25, 3.0), 2**24),
    ],
)
def test_value_and_gradient(case, beta, weights, slice_elements, monkeypatch):
    monkeypatch.setattr("alm_lightning.likelihood.slices.SLICE_ELEMENTS", slice_elements)
    objective = GOLD(beta=beta, shared_weight=weights[0], rest_weight=weights[1])
    objective.setup(case.pair)
    expected, count, several = reference(case, beta, weights)
    assert count > 50
    assert several > 20
    assert objective.weight(case.signal) == count
    found = objective(case.signal)
    parameters = case.student.model.parameters()
    assert_same(found, expected, parameters, value=1e-9, gradient=1e-7)


def test_a_chunk_without_a_prediction_is_left_out(case):
    """The first token of a row, where nothing comes before it, cuts its chunk out."""
    tokens = case.signal.teacher_tokens
    place = int((tokens.chunk_ids[0] == 3).nonzero()[0])
    positions = tokens.positions.clone()
    positions[0, place] = 0
    objective = GOLD(beta=0.5, shared_weight=None, rest_weight=None)
    objective.setup(case.pair)
    signal = replace(case.signal, teacher_tokens=replace(tokens, positions=positions))
    assert objective.weight(signal) == objective.weight(case.signal) - 1
    assert objective(signal).item() < objective(case.signal).item()


@pytest.mark.parametrize("beta", [0, 0.5, 1])
def test_it_is_0_without_a_gradient_where_the_student_is_its_teacher(byte_level_view, beta):
    case = objective_case(byte_level_view, byte_level_view, widths=(32, 32))
    case.teacher.model.load_state_dict(case.student.model.state_dict())
    same = case.teacher(case.batch, case.batch.teacher, keep_distributions=True)
    objective = GOLD(beta=beta, shared_weight=1.0, rest_weight=0.0)
    objective.setup(case.pair)
    assert objective(case.signal).abs().item() > 1.0
    found = objective(replace(case.signal, optional_teacher=same))
    assert found.item() == pytest.approx(0.0, abs=1e-9)
    if beta == 0.5:
        for gradient in torch.autograd.grad(found, list(case.student.model.parameters())):
            torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-9, rtol=0)


def test_generalised_jsd_by_hand():
    student, teacher = torch.tensor([[0.5, 0.25]]).log(), torch.tensor([[0.25, 0.125]]).log()
    # m at beta = 1/2: 3/8, 3/16
    half = 0.5 * 0.375 * log(2 / 3) + 0.5 * 0.75 * log(4 / 3)
    assert generalised_jsd(student, teacher, beta=0.5).item() == pytest.approx(half, abs=1e-6)
    # KL of values that do not sum to 1 may be below 0
    forward, backward = 0.375 * log(1 / 2), 0.75 * log(2)
    assert generalised_jsd(student, teacher, beta=0).item() == pytest.approx(forward, abs=1e-6)
    assert generalised_jsd(student, teacher, beta=1).item() == pytest.approx(backward, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"beta": 1.5}, "beta is 1.5"),
        ({"beta": float("nan")}, "beta is nan"),
        ({"rest_weight": 1.0}, "shared_weight is None and rest_weight 1.0"),
        ({"shared_weight": -1.0, "rest_weight": 1.0}, "shared_weight is -1.0"),
    ],
)
def test_settings_that_are_none(change, named):
    settings = {"beta": 0.5, "shared_weight": None, "rest_weight": None} | change
    with pytest.raises(ValueError, match=named):
        GOLD(**settings)
