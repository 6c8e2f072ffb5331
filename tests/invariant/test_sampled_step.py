"""Norms that are measured in some steps alone: what runs, what is kept, and on every rank alike."""

import pytest
import torch
from tests.invariant.test_step import make_step, on_ranks, terms

from alm_lightning.data.collator import Collator
from alm_lightning.models.structure import layers_of
from alm_lightning.objectives.combine import GradMag
from alm_lightning.objectives.sampled import SampledGradMag


@pytest.fixture
def batches(scorers, rows):
    student, teacher = scorers
    collator = Collator(student=student.view, teacher=teacher.view, micro_batch_size=2)
    return [collator(rows[start : start + 4]) for start in (0, 2, 4)]


def count_forwards(model):
    counts = [0]

    def note(*_):
        counts[0] += 1

    layers_of(model)[0].register_forward_hook(note)
    return counts


def test_the_second_forward_pass_is_rare(scorers, batches):
    counts = count_forwards(scorers[0].model)
    step = make_step(scorers, SampledGradMag(every=3, decay=0.5))
    passes = []
    for number in range(7):
        counts[0] = 0
        step(batches[number % 3])
        passes.append(counts[0])
    # two micro-batches, once or twice
    assert passes == [4, 2, 2, 4, 2, 2, 4]


def test_a_step_that_measures_every_time_is_gradmag(scorers, batches):
    exact = make_step(scorers, GradMag())
    sampled = make_step(scorers, SampledGradMag(every=1, decay=0.0))
    for parts in batches:
        expected, found = exact(parts).balance, sampled(parts).balance
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=0.0)


def test_the_mean_of_norms(scorers):
    balance = SampledGradMag(every=2, decay=0.75)
    balance.setup(["a", "b"])
    losses = dict.fromkeys("ab", torch.tensor(1.0))
    norms = {"a": torch.tensor(1.0), "b": torch.tensor(3.0)}
    assert float(balance(losses, norms)["a"]) == pytest.approx(0.75)
    assert not balance.needs_norms
    assert float(balance(losses, {})["a"]) == pytest.approx(0.75)
    assert balance.needs_norms
    # 1 * 0.75 + 5 * 0.25 = 2
    balance(losses, norms | {"a": torch.tensor(5.0)})
    assert balance.norms.tolist() == [2.0, 3.0]
    assert not balance.needs_norms
    balance(losses, {})
    # without a chunk in this step there was nothing to measure
    balance(losses, norms | {"a": torch.tensor(0.0)})
    assert balance.norms.tolist() == [2.0, 3.0]
    # a term that has faded out
    assert float(balance({"b": losses["b"]}, {})["b"]) == 1.0


def test_terms_count_alike_until_a_norm_is_known():
    balance = SampledGradMag(every=3, decay=0.5)
    balance.setup(["a", "b"])
    losses = dict.fromkeys("ab", torch.tensor(1.0))
    nothing = dict.fromkeys("ab", torch.tensor(0.0))
    # no text in the step that measures
    balance(dict.fromkeys("ab", torch.tensor(0.0)), nothing)
    assert not balance.needs_norms
    assert list(map(float, balance(losses, {}).values())) == [0.5, 0.5]
    balance(losses, {})
    assert float(balance(losses, nothing | {"a": torch.tensor(2.0)})["a"]) == 1.0


def test_a_checkpoint_goes_on_where_it_was(scorers, batches):
    balance = SampledGradMag(every=3, decay=0.5)
    step = make_step(scorers, balance)
    for number in range(4):
        step(batches[number % 3])
    kept = balance.state_dict()
    again = SampledGradMag(every=3, decay=0.5)
    resumed = make_step(scorers, again)
    again.load_state_dict(kept)
    for number in range(4, 8):
        expected = step(batches[number % 3])
        found = resumed(batches[number % 3])
        assert again.needs_norms == balance.needs_norms
        for name in terms():
            assert torch.equal(found.balance[name], expected.balance[name])


def test_ranks_agree(scorers, batches):
    results, _ = on_ranks(
        scorers, [batches[0], batches[1][:1]], lambda: SampledGradMag(every=2, decay=0.5)
    )
    for name in terms():
        assert torch.equal(results[0].balance[name], results[1].balance[name])


@pytest.mark.parametrize("settings", [{"every": 0, "decay": 0.5}, {"every": 2, "decay": 1.0}])
def test_settings_of_no_use_are_refused(settings):
    with pytest.raises(ValueError, match=r"SampledGradMag: (every|decay) is"):
        SampledGradMag(**settings)
