"""`micro_batch_size=auto`: what is tried leaves no trace, and figures do not depend on it."""

import copy

import pytest
import torch
from lightning.pytorch.strategies import FSDPStrategy
from tests.invariant.test_step import make_step
from tests.runs import TEXT
from tests.unit.distillation.test_distill import TINY

import alm_lightning as alm
from alm_lightning.data.collator import Collator
from alm_lightning.data.rows import row_sizes
from alm_lightning.distillation import run as run_file
from alm_lightning.objectives.combine import GradNorm
from alm_lightning.training import micro_batch, module
from alm_lightning.training.micro_batch import (
    Trial,
    held_by_optimizer,
    largest_that_fits,
    rows_on_processor,
    tried_rows,
)


@pytest.fixture(params=[torch.OutOfMemoryError, RuntimeError])
def lacking(request):
    """How it is said that memory is too small: by torch, or by a library with its own."""
    return request.param("CUDA out of memory. Tried to allocate 3.00 GiB.")


def limited(model, most, error=None):
    """The model with a device that has room for so many rows."""
    seen = []

    def check(_, args, kwargs):
        rows = len(kwargs["input_ids"])
        seen.append(rows)
        if rows > most:
            raise error or torch.OutOfMemoryError("CUDA out of memory.")

    model.get_decoder().register_forward_pre_hook(check, with_kwargs=True)
    return seen


@pytest.mark.parametrize(
    ("most", "fitting", "found"), [(32, 32, 32), (32, 9, 8), (13, 5, 4), (6, 2, 2), (4, 0, 1)]
)
def test_all_rows_or_half_of_them(most, fitting, found):
    tried = []

    def fits(rows):
        tried.append(rows)
        return rows <= fitting

    assert largest_that_fits(fits, most) == found
    assert len(tried) <= 6


def test_a_processor_has_a_bound():
    assert rows_on_processor(4, 256) == 4
    assert rows_on_processor(64, 1024) == 4
    assert rows_on_processor(64, 10**6) == 1


@pytest.mark.parametrize("most", [2, 100])
def test_a_trial_leaves_no_trace(scorers, rows, most, lacking):
    student, teacher = scorers
    balance = GradNorm(alpha=1.5, lr=0.025)
    step = make_step(scorers, balance)
    collator = Collator(student=student.view, teacher=teacher.view, micro_batch_size=100)
    batch = collator.of_rows([rows[:2]] * 3)
    step(collator(rows))
    student.model.zero_grad()
    seen = limited(student.model, most, lacking)
    weights = copy.deepcopy(student.model.state_dict())
    learned = copy.deepcopy(balance.state_dict())
    drawn = torch.get_rng_state()
    assert Trial(step, [balance], held_bytes=1000)([batch]) == (most == 100)
    assert seen == [3]
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(parameter.grad is None for parameter in student.model.parameters())
    for before, now in ((weights, student.model.state_dict()), (learned, balance.state_dict())):
        assert all(torch.equal(now[name], value) for name, value in before.items())


def test_other_errors_are_not_taken_for_memory(scorers, rows):
    student, teacher = scorers
    collator = Collator(student=student.view, teacher=teacher.view, micro_batch_size=100)

    def fail(*_):
        raise RuntimeError("a bug")

    student.model.get_decoder().register_forward_pre_hook(fail)
    step = make_step(scorers, GradNorm(alpha=1.5, lr=0.025))
    with pytest.raises(RuntimeError, match="a bug"):
        Trial(step, [], held_bytes=0)(collator(rows))


def test_what_an_optimizer_holds():
    parameters = [torch.nn.Parameter(torch.zeros(10, 100)), torch.nn.Parameter(torch.zeros(24))]

    def adamw(groups):
        return torch.optim.AdamW(groups, lr=1e-3, fused=True)

    assert held_by_optimizer(adamw, parameters) == 8 * 1024
    assert held_by_optimizer(lambda groups: torch.optim.SGD(groups, lr=1.0), parameters) == 0


def run(model_folder, **settings):
    texts = [TEXT.format(n, n) for n in range(12)]
    settings = TINY | {"steps": 2, "batch_size": 6} | settings
    return alm.distill(student=model_folder, tokenizer="bytes", data=texts, **settings)


def test_a_run_does_not_depend_on_it(model_folder, monkeypatch):
    """Found by trials on a device with room for two rows, which are tried in threes at first."""
    expected = run(model_folder, micro_batch_size=2)
    assert expected.metrics["micro_batch_size"] == 2
    seen = []

    def tried(data, step, **settings):
        seen.append(limited(step.student.model, 2))
        # a window of each evaluation set, as often as it goes into a row
        assert 96 <= sum(row_sizes(window)[0] for window in data.longest_row()) < 192
        # moments of AdamW, two of float32 for each weight, and what is left free
        trials.clear()
        with monkeypatch.context() as patch:
            patch.setattr(micro_batch, "forget_peak_memory", lambda: forgotten.append([*seen[0]]))
            found = tried_rows(data, step, spare=1000, **settings)
        # after them
        assert forgotten == [seen[0]]
        weights = sum(parameter.numel() for parameter in settings["parameters"])
        assert {trial.held_bytes for trial in trials} == {8 * weights + 1000}
        with pytest.raises(ValueError, match="with FSDPStrategy ranks compute together"):
            tried_rows(data, step, spare=0, **settings | {"strategy": FSDPStrategy()})
        return found

    class Listed(Trial):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            trials.append(self)

    trials, forgotten = [], []
    monkeypatch.setattr(micro_batch, "Trial", Listed)
    monkeypatch.setattr(module, "rows_that_fit", tried)
    found = run(model_folder, micro_batch_size="auto")
    assert found.metrics["micro_batch_size"] == 2
    assert seen[0][:3] == [1, 6, 3]
    own = found.student.state_dict()
    for name, weight in expected.student.state_dict().items():
        assert torch.equal(own[name], weight), name


def test_on_a_processor_it_is_all_of_a_small_step(model_folder, monkeypatch):
    forgotten = []
    monkeypatch.setattr(run_file, "forget_peak_memory", lambda: forgotten.append(1))
    assert run(model_folder, micro_batch_size="auto").metrics["micro_batch_size"] == 6
    # at its beginning
    assert forgotten == [1]


@pytest.mark.parametrize("value", ["all", 0])
def test_what_is_no_size(model_folder, value):
    with pytest.raises(ValueError, match=r"micro_batch_size is .* of at least 1, or auto"):
        run(model_folder, micro_batch_size=value)
