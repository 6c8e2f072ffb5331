"""DSKD against loops over tokens, on transformers' own hidden states and logits."""

import math
from dataclasses import replace

import pytest
import torch
from tests.objective_cases import assert_same, objective_case

from alm_lightning.data.batch import SideTokens
from alm_lightning.likelihood.distributions import Distributions
from alm_lightning.likelihood.head import OutputHead
from alm_lightning.likelihood.signal import Supervision
from alm_lightning.objectives.baselines.cross_model_attention import CrossModelAttention, sees
from alm_lightning.objectives.baselines.dskd import DSKD
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, SideFacts


@pytest.fixture
def case(byte_level_view, metaspace_view):
    return objective_case(byte_level_view, metaspace_view, num_rows=3)


def objective_of(pair, temperature=2.0):
    objective = DSKD(temperature=temperature, learning_rate=1e-3)
    torch.manual_seed(3)
    objective.setup(pair)
    return objective.double()


# --- the slow reference


def states_of(scorer, tokens):
    """Embeddings and last hidden states of every token."""
    found = scorer.model(
        input_ids=tokens.ids, attention_mask=tokens.mask.long(), output_hidden_states=True
    )
    return scorer.model.get_input_embeddings()(tokens.ids), found.hidden_states[-1]


def over_deviation(vector):
    return vector / torch.tensor(vector.tolist(), dtype=torch.float64).std()


def linear(layer, vector):
    return layer.weight @ vector + layer.bias


def kl(logits_p, logits_q, temperature):
    p, q = ((logits / temperature).softmax(0) for logits in (logits_p, logits_q))
    return (p * (p / q).log()).sum()


def reference(case, objective):
    """The total, how many student tokens there are, and for how many the projection is right."""
    batch, attention, temperature = case.batch, objective.attention, objective.temperature
    student_e, student_h = states_of(case.student, batch.student)
    teacher_e, teacher_h = states_of(case.teacher, batch.teacher)
    student_out = case.student.model.get_output_embeddings().weight
    teacher_out = case.teacher.model.get_output_embeddings().weight
    total, count, num_right = 0.0, 0, 0
    for row in range(len(batch.student.ids)):
        student = [i for i, is_one in enumerate(batch.student_targets[row].tolist()) if is_one]
        teacher = [i for i, c in enumerate(batch.teacher.chunk_ids[row].tolist()) if c != -1]
        count += len(student)
        scores = torch.zeros(len(student), len(teacher), dtype=torch.float64)
        for a, i in enumerate(student):
            read, target = student_e[row, i - 1].detach(), student_e[row, i].detach()
            query = linear(attention.query, torch.cat([read, target]))
            scores[a] = torch.stack(
                [
                    query @ over_deviation(torch.cat([teacher_e[row, j - 1], teacher_e[row, j]]))
                    for j in teacher
                ]
            ) / math.sqrt(2 * teacher_e.shape[-1])
        values = [
            linear(
                attention.to_student,
                over_deviation(teacher_h[row, j - 1]) + over_deviation(teacher_e[row, j]),
            )
            for j in teacher
        ]
        for a, i in enumerate(student):
            shares = scores[a].softmax(0)
            logits = student_out.detach() @ sum(s * v for s, v in zip(shares, values, strict=True))
            target = int(batch.student.ids[row, i])
            total = total - logits.log_softmax(0)[target]
            if int(logits.argmax()) == target:
                num_right += 1
                own = student_out @ student_h[row, i - 1]
                total = total + kl(logits.detach(), own, temperature)
        values = [linear(attention.to_teacher, student_h[row, i - 1]) for i in student]
        for b, j in enumerate(teacher):
            shares = scores[:, b].softmax(0)
            logits = teacher_out @ sum(s * v for s, v in zip(shares, values, strict=True))
            total = total + kl(teacher_out @ teacher_h[row, j - 1], logits, temperature)
    return total, count, num_right


def learn(objective, signal, steps=40):
    """A few steps of the projectors, after which some tokens are right."""
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        objective(signal).backward(retain_graph=True)
        optimizer.step()


@pytest.mark.parametrize("temperature", [2.0, 0.7])
@pytest.mark.parametrize("slice_elements", [1000, 2**24])
def test_value_and_gradient(case, temperature, slice_elements, monkeypatch):
    objective = objective_of(case.pair, temperature)
    learn(objective, case.signal)
    monkeypatch.setattr("alm_lightning.likelihood.slices.SLICE_ELEMENTS", slice_elements)
    expected, count, num_right = reference(case, objective)
    assert 10 < num_right < count - 10
    assert objective.weight(case.signal) == count
    found = objective(case.signal)
    parameters = [*case.student.model.parameters(), *objective.parameters()]
    wanted = assert_same(found, expected, parameters, value=1e-8, gradient=1e-6)
    assert all(each.any() for each in wanted)


def test_projectors_that_say_nothing_by_hand(case):
    """Projections to 0 give uniform distributions: log V each, and log V less the entropy."""
    objective = objective_of(case.pair)
    for layer in (objective.attention.to_student, objective.attention.to_teacher):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    expected = float(case.batch.student_targets.sum()) * math.log(case.student.view.num_tokens)
    # of equally likely tokens the first is the most likely; its right answers would add a KL
    assert not (case.batch.student.ids[case.batch.student_targets] == 0).any()
    p = (case.teacher_logprobs / 2).softmax(-1)[case.batch.teacher.chunk_ids != -1]
    entropies = -(p * p.log()).sum(-1)
    expected += float((math.log(case.teacher.view.num_tokens) - entropies).sum())
    assert objective(case.signal).item() == pytest.approx(expected, rel=1e-9)


# --- what learns from what


def test_the_cross_entropy_reaches_projectors_alone(case):
    objective = objective_of(case.pair)
    gradients = torch.autograd.grad(
        objective._in_student(*in_student_arguments(case, objective)),
        [*case.student.model.parameters(), *objective.parameters()],
        materialize_grads=True,
    )
    names = [name for name, _ in case.student.model.named_parameters()]
    names += [name for name, _ in objective.named_parameters()]
    moved = {name for name, gradient in zip(names, gradients, strict=True) if gradient.any()}
    assert moved == {
        f"attention.{layer}.{kind}"
        for layer in ("query", "to_student")
        for kind in ("weight", "bias")
    }


def in_student_arguments(case, objective):
    """Arguments with targets that the projected teacher never takes for the likeliest."""
    student = case.signal.student.distributions
    visible = sees(case.signal)
    projected, _ = objective.attention(student, case.signal.teacher.distributions, visible)
    places = visible.any(2).flatten().nonzero().squeeze(1)
    projected = projected.flatten(0, 1)[places]
    least = student.logprobs_of(projected).argmin(1)
    return student, places, least, projected


def test_nothing_reaches_the_teacher(case):
    case.teacher.model.requires_grad_(True)
    objective = objective_of(case.pair)
    with torch.no_grad():
        side = case.teacher(case.batch, case.batch.teacher, keep_distributions=True)
    objective(replace(case.signal, optional_teacher=side)).backward()
    assert all(parameter.grad is None for parameter in case.teacher.model.parameters())


def test_a_batch_without_a_target_is_0_with_a_gradient_of_0(case):
    signal = replace(case.signal, target_mask=torch.zeros_like(case.signal.target_mask))
    objective = objective_of(case.pair)
    assert objective.weight(signal) == 0
    found = objective(signal)
    assert found.item() == 0.0
    parameters = [*case.student.model.parameters(), *objective.parameters()]
    gradients = torch.autograd.grad(found, parameters, materialize_grads=True)
    assert not any(gradient.any() for gradient in gradients)


def test_as_many_parameters_as_three_projectors(case):
    shapes = {n: tuple(p.shape) for n, p in objective_of(case.pair).named_parameters()}
    assert shapes == {
        "attention.query.weight": (96, 64),
        "attention.query.bias": (96,),
        "attention.to_student.weight": (32, 48),
        "attention.to_student.bias": (32,),
        "attention.to_teacher.weight": (48, 32),
        "attention.to_teacher.bias": (48,),
    }


# --- the attention


def distributions(embedded, hidden):
    head = OutputHead(torch.zeros(1, 2), None, None, 1, None, torch.zeros(0, dtype=torch.long))
    return Distributions(torch.tensor([hidden]), torch.tensor([embedded]), head)


def test_attention_by_hand(case):
    """Width 2, where a vector (x, y) has the deviation |x - y| / sqrt(2)."""
    facts = SideFacts(case.student.view, 2, 2)
    attention = CrossModelAttention(PairFacts(facts, facts))
    with torch.no_grad():
        for layer in (attention.query, attention.to_student, attention.to_teacher):
            torch.nn.init.eye_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    student = distributions([[0.0, 0.0], [3.0, 0.0]], [[5.0, 7.0], [0.0, 0.0]])
    teacher = distributions([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]], [[2.0, 0.0], [0.0, 4.0], [9, 9]])
    visible = torch.tensor([[[False, False, False], [False, True, True]]])
    in_student, in_teacher = attention(student, teacher, visible)
    # query (0, 0, 3, 0); keys (1, 0, 1, 0) / sqrt(1/3) and (1, 0, 0, 2) / sqrt(11/12)
    score = 3 / math.sqrt(1 / 3) / math.sqrt(4)
    share = math.exp(score) / (math.exp(score) + 1)
    # values (2, 0) / sqrt(2) + (1, 0) / sqrt(1/2), and (0, 4) / sqrt(8) + (0, 2) / sqrt(2)
    root = math.sqrt(2)
    expected = [share * 2 * root, (1 - share) * 2 * root]
    assert in_student[0, 1].tolist() == pytest.approx(expected, rel=1e-6)
    # both teacher tokens see the one student token, whose state is the one before it
    assert in_teacher[0, 1:].tolist() == [[5.0, 7.0], [5.0, 7.0]]


def test_documents_of_a_packed_row_do_not_see_each_other():
    """Two documents; the first ends with a student token that is not trained on."""
    student = SideTokens(
        ids=torch.zeros(1, 7, dtype=torch.long),
        positions=torch.tensor([[0, 1, 2, 0, 1, 2, 0]]),
        mask=torch.ones(1, 7, dtype=torch.bool),
        chunk_ids=torch.tensor([[-1, 0, -1, -1, 1, 1, -1]]),
    )
    teacher = SideTokens(
        ids=torch.zeros(1, 5, dtype=torch.long),
        positions=torch.tensor([[0, 1, 2, 0, 1]]),
        mask=torch.ones(1, 5, dtype=torch.bool),
        chunk_ids=torch.tensor([[-1, 0, 0, -1, 1]]),
    )
    target_mask = torch.tensor([[False, True, False, False, True, True, False]])
    chunks = torch.ones(1, 2, dtype=torch.bool)
    signal = Supervision(
        student_tokens=student,
        teacher_tokens=teacher,
        chunk_mask=chunks,
        chunk_ends_run=chunks,
        target_mask=target_mask,
        own_rows=torch.zeros(len(target_mask), dtype=torch.bool),
    )
    seen = [(1, 1), (1, 2), (4, 4), (5, 4)]
    assert [tuple(pair) for pair in sees(signal)[0].nonzero().tolist()] == seen


# --- what is refused


def test_embeddings_of_another_width_than_hidden_states(case):
    student, teacher = case.pair.student, case.pair.teacher
    pair = PairFacts(student, replace(teacher, embedding_size=16))
    with pytest.raises(ValueError, match=r"first are 16 wide and the second 48\. Take another"):
        DSKD(temperature=2, learning_rate=1e-3).setup(pair)
    DSKD(temperature=2, learning_rate=1e-3).setup(
        PairFacts(replace(student, embedding_size=16), teacher)
    )


@pytest.mark.parametrize("name", ["temperature", "learning_rate"])
@pytest.mark.parametrize("value", [0, -1.0, math.nan])
def test_settings_that_are_none(name, value):
    with pytest.raises(ValueError, match=rf"DSKD: {name} is {value}"):
        DSKD(**({"temperature": 2, "learning_rate": 1e-3} | {name: value}))
