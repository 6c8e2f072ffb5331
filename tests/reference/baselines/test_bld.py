"""A byte head on the student: against loops over bytes in float64."""

import math
from dataclasses import replace

import pytest
import torch
from tests.objective_cases import assert_same, objective_case

from alm_lightning.objectives.baselines.bld import BLD

PAIRS = [("byte_level", "metaspace"), ("metaspace", "byte_level"), ("bytes", "metaspace")]


@pytest.fixture(params=PAIRS, ids="-".join)
def case(request, views):
    return objective_case(*(views[name] for name in request.param))


def bld(case, **settings):
    """The objective for a case, with a head that is not as it starts."""
    settings = {"max_bytes": 3, "cross_entropy_weight": 0.5, "learning_rate": 1e-3} | settings
    torch.manual_seed(3)
    objective = BLD(**settings)
    objective.setup(case.pair)
    objective.double()
    with torch.no_grad():
        objective.head.before.normal_()
    return objective


def chunks(case):
    """Row, and for each side the positions of a chunk's tokens and their bytes."""
    views, batch = (case.student.view, case.teacher.view), case.batch
    for row in range(len(batch.student.ids)):
        for chunk in range(int(batch.chunk_mask[row].sum())):
            sides = []
            for view, side in zip(views, (batch.student, batch.teacher), strict=True):
                places = [p for p, c in enumerate(side.chunk_ids[row].tolist()) if c == chunk]
                surfaces = [view.token_bytes[side.ids[row, place]] for place in places]
                sides.append(list(zip(places, surfaces, strict=True)))
            yield row, *sides


def spelled(tokens):
    """For each byte of a chunk its value, its token's position, and the token's bytes before."""
    if len(tokens) == 1 and tokens[0][1] is None:
        return [(256, tokens[0][0], b"")]
    return [
        (byte, place, surface[:step])
        for place, surface in tokens
        for step, byte in enumerate(surface or b"")
    ]


def states(case):
    """The student's hidden state before each token."""
    ids = case.batch.student
    outputs = case.student.model(
        input_ids=ids.ids, attention_mask=ids.mask.long(), output_hidden_states=True
    )
    return outputs.hidden_states[-1].roll(1, dims=1)


def reference(case, objective):
    """Sum over bytes, and how many there are, one after another."""
    view, head, weight = case.teacher.view, objective.head, objective.cross_entropy_weight
    hidden = states(case)
    # a byte student's tokens have no byte before
    total, count = 0.0 * head.before.sum(), 0
    for row, ours, theirs in chunks(case):
        ours, theirs = spelled(ours), spelled(theirs)
        if [b for b, *_ in ours] != [b for b, *_ in theirs]:
            continue
        for (byte, place, before), (_, their_place, prefix) in zip(ours, theirs, strict=True):
            if len(before) >= objective.max_bytes:
                continue
            count += 1
            logits = head.output(hidden[row, place])
            for step, earlier in enumerate(before):
                logits = logits + head.before[step, earlier]
            logprobs = logits.log_softmax(dim=0)
            probs = case.teacher_logprobs[row, their_place].exp()
            target = torch.zeros(257, dtype=probs.dtype)
            for id_, surface in enumerate(view.token_bytes):
                if not surface:
                    target[256] += 0 if prefix else probs[id_]
                elif surface.startswith(prefix) and surface != prefix:
                    target[surface[len(prefix)]] += probs[id_]
            target /= target.sum()
            for mass, logprob in zip(target, logprobs, strict=True):
                if mass > 0:
                    total = total + mass * (mass.log() - logprob)
            total = total - weight * logprobs[byte]
    return total, count


@pytest.mark.slow
@pytest.mark.parametrize("slice_elements", [1000, 2**24])
def test_value_and_gradient(case, slice_elements, monkeypatch):
    monkeypatch.setattr("alm_lightning.likelihood.slices.SLICE_ELEMENTS", slice_elements)
    objective = bld(case)
    expected, count = reference(case, objective)
    assert count > 100
    assert objective.weight(case.signal) == count
    parameters = [*case.student.model.parameters(), *objective.parameters()]
    assert_same(objective(case.signal), expected, parameters, value=1e-6, gradient=1e-4)


def test_a_head_that_knows_nothing(byte_level_view, metaspace_view):
    case = objective_case(byte_level_view, metaspace_view)
    values = []
    for weight in (0, 1):
        objective = bld(case, max_bytes=2, cross_entropy_weight=weight)
        with torch.no_grad():
            for parameter in objective.head.parameters():
                parameter.zero_()
        values.append(objective(case.signal).item())
    # uniform over 257 outcomes: the cross-entropy of each byte, and the most that a KL can be
    uniform = objective.weight(case.signal).item() * math.log(257)
    assert values[1] - values[0] == pytest.approx(uniform, rel=1e-9)
    assert 0 < values[0] < uniform


def test_no_chunk(byte_level_view, metaspace_view):
    case = objective_case(byte_level_view, metaspace_view)
    objective = bld(case)
    nothing = replace(case.signal, chunk_mask=torch.zeros_like(case.signal.chunk_mask))
    assert objective.weight(nothing) == 0
    found = objective(nothing)
    assert found == 0
    # every rank must have a gradient
    found.backward()
    assert all(p.grad is not None and not p.grad.any() for p in objective.parameters())


@pytest.mark.parametrize(
    "wrong", [{"max_bytes": 0}, {"cross_entropy_weight": -1}, {"learning_rate": 0}]
)
def test_settings_are_checked(wrong):
    settings = {"max_bytes": 3, "cross_entropy_weight": 0.5, "learning_rate": 1e-3}
    (name,) = wrong
    with pytest.raises(ValueError, match=f"BLD: {name} is "):
        BLD(**settings | wrong)
