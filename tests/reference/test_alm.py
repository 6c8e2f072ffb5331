"""ALM against a loop over chunks, written from the formulas of docs/method.md, section 2 and 3."""

import math
from dataclasses import replace

import pytest
import torch

from alm_lightning.data.batch import SideTokens
from alm_lightning.likelihood.signal import ModelSignal, Signal, TokenLogprobs
from alm_lightning.objectives.alm import ALM
from alm_lightning.objectives.hidden_states import HiddenStates


def random_signal(seed: int, *, batch: int = 3, chunks: int = 7) -> Signal:
    generator = torch.Generator().manual_seed(seed)

    def nats(scale):
        return -torch.rand(batch, chunks, generator=generator, dtype=torch.float64) * scale

    def side():
        return ModelSignal(
            TokenLogprobs(
                token_logprobs=torch.zeros(batch, 5, dtype=torch.float64),
                chunk_logprobs=nats(6.0),
                boundary_logprobs=nats(5.0),
            ),
            optional_hidden=torch.randn(batch, chunks, 4, generator=generator, dtype=torch.float64),
        )

    zeros = torch.zeros(batch, 5, dtype=torch.long)
    # which tokens there are does not matter here
    tokens = SideTokens(zeros, zeros, zeros.bool(), zeros)
    lengths = torch.randint(0, chunks + 1, (batch, 1), generator=generator)
    return Signal(
        student=side(),
        student_tokens=tokens,
        teacher_tokens=tokens,
        optional_teacher=side(),
        chunk_mask=torch.arange(chunks) < lengths,
        # the last chunk of a row is the last of a run as well
        chunk_ends_run=(torch.rand(batch, chunks, generator=generator) < 0.2)
        | (torch.arange(chunks) == lengths - 1),
        target_mask=torch.ones(batch, 5, dtype=torch.bool),
        own_rows=torch.zeros(batch, dtype=torch.bool),
        optional_mean_square=torch.rand(4, generator=generator, dtype=torch.float64) + 0.5,
    )


def loop(signal: Signal, *, temperature: float, threshold: float, debias: bool):
    total, count = 0.0, 0
    for row in range(len(signal.chunk_mask)):
        teacher = student = 0.0
        open_run = False
        last = int(signal.chunk_mask[row].sum()) - 1
        for chunk in range(last + 1):
            teacher += float(signal.teacher.chunk_logprobs[row, chunk])
            student += float(signal.student.chunk_logprobs[row, chunk])
            open_run = True
            boundary = float(signal.teacher.boundary_logprobs[row, chunk])
            if math.exp(boundary) > threshold or signal.chunk_ends_run[row, chunk]:
                if debias:
                    teacher += boundary
                    student += float(signal.student.boundary_logprobs[row, chunk])
                p, q = math.exp(teacher / temperature), math.exp(student / temperature)
                total += p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
                count += 1
                teacher = student = 0.0
                open_run = False
        assert not open_run
    return total, count


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("temperature", [1.0, 5.0])
@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("debias", [True, False])
def test_total_and_weight(seed, temperature, threshold, debias):
    signal = random_signal(seed)
    objective = ALM(temperature=temperature, threshold=threshold, debias=debias, divergence="kl")
    total, count = loop(signal, temperature=temperature, threshold=threshold, debias=debias)
    assert float(objective(signal)) == pytest.approx(total, rel=1e-9, abs=1e-12)
    assert float(objective.weight(signal)) == count


def test_a_row_that_never_passes_is_one_chunk():
    signal = random_signal(1)
    objective = ALM(temperature=5, threshold=0.999999, debias=True, divergence="kl")
    rows_with_chunks = int(signal.chunk_mask.any(dim=1).sum())
    ends_row = torch.arange(7) == signal.chunk_mask.sum(dim=1, keepdim=True) - 1
    whole = replace(signal, chunk_ends_run=ends_row)
    assert float(objective.weight(whole)) == rows_with_chunks
    # a run that ends within the row is not merged with the next one
    runs = int((signal.chunk_ends_run & signal.chunk_mask).sum())
    assert float(objective.weight(signal)) == runs > rows_with_chunks


def test_no_chunk_at_all_costs_nothing():
    signal = random_signal(2)
    empty = replace(
        signal,
        student=ModelSignal(
            TokenLogprobs(
                signal.student.token_logprobs,
                signal.student.chunk_logprobs.clone().requires_grad_(),
                signal.student.boundary_logprobs,
            )
        ),
        chunk_mask=torch.zeros_like(signal.chunk_mask),
    )
    objective = ALM(temperature=5, threshold=0.1, debias=True, divergence="kl")
    total = objective(empty)
    assert float(total.detach()) == 0.0
    assert float(objective.weight(empty)) == 0.0
    total.backward()
    assert not empty.student.chunk_logprobs.grad.any()


@pytest.mark.parametrize("divergence", ["kl", "reverse_kl", "tvd"])
@pytest.mark.parametrize("temperature", [1, 5, 100, "inf"])
def test_the_same_student_as_teacher_has_no_loss_and_no_gradient(divergence, temperature):
    signal = random_signal(3)
    logprobs = signal.teacher.chunk_logprobs.clone().requires_grad_()
    same = replace(
        signal,
        student=ModelSignal(
            TokenLogprobs(signal.teacher.token_logprobs, logprobs, signal.teacher.boundary_logprobs)
        ),
    )
    objective = ALM(temperature=temperature, threshold=0.1, debias=True, divergence=divergence)
    total = objective(same)
    assert float(total.detach()) == 0.0
    total.backward()
    assert logprobs.grad.abs().max() < 1e-12


def test_padding_changes_nothing():
    signal = random_signal(4)
    garbage = torch.where(signal.chunk_mask, 0.0, -7.0)

    def spoiled(side):
        return ModelSignal(
            TokenLogprobs(
                side.token_logprobs, side.chunk_logprobs + garbage, side.boundary_logprobs + garbage
            )
        )

    other = replace(
        signal, student=spoiled(signal.student), optional_teacher=spoiled(signal.teacher)
    )
    objective = ALM(temperature=5, threshold=0.3, debias=True, divergence="kl")
    assert torch.equal(objective(signal), objective(other))
    assert torch.equal(objective.weight(signal), objective.weight(other))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0}, "ALM: temperature is 0: expected a number above 0"),
        ({"temperature": -1}, "expected a number above 0"),
        ({"temperature": "nan"}, "expected a number above 0"),
        ({"threshold": 1.0}, r"threshold is 1.0: expected a probability in \[0, 1\)"),
        ({"threshold": -0.1}, "expected a probability"),
        ({"divergence": "js"}, "divergence is 'js': expected one of"),
    ],
)
def test_settings_out_of_range(settings, message):
    good = {"temperature": 5, "threshold": 0.1, "debias": True, "divergence": "kl"}
    with pytest.raises(ValueError, match=message):
        ALM(**(good | settings))


def test_hidden_states_by_hand():
    signal = random_signal(5)
    expected = 0.0
    for row, chunk in signal.chunk_mask.nonzero().tolist():
        for channel in range(4):
            difference = float(
                signal.student.hidden[row, chunk, channel]
                - signal.teacher.hidden[row, chunk, channel]
            )
            expected += difference**2 / float(signal.teacher_mean_square[channel]) / 4
    objective = HiddenStates(projection=None, learning_rate=1e-3, fades_by=None)
    assert float(objective(signal)) == pytest.approx(expected, rel=1e-9)
    assert float(objective.weight(signal)) == int(signal.chunk_mask.sum())
