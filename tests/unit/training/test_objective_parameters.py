"""Parameters of an objective are trained, saved and gone on with, as the student's are."""

import math

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from alm_lightning.models.pair import Scorer
from alm_lightning.objectives.baselines.dskd import DSKD
from alm_lightning.objectives.combine import GradMag
from alm_lightning.objectives.hidden_states import HiddenStates
from alm_lightning.objectives.next_token import NextToken
from alm_lightning.training.module import DistillModule

PROJECTORS = {
    f"objective.dskd.attention.{layer}.{kind}"
    for layer in ("query", "to_student", "to_teacher")
    for kind in ("weight", "bias")
}
MAP = "objective.hidden_states.map.weight"

# only losses are of interest here
pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step`")


@pytest.fixture
def make(scorers):
    student, teacher = scorers
    weights = {name: value.clone() for name, value in student.model.state_dict().items()}

    def make():
        """A module whose student and projectors start alike each time."""
        student.model.load_state_dict(weights)
        torch.manual_seed(5)
        return DistillModule(
            student=Scorer(student.model, student.view),
            teacher=teacher,
            objective={
                "dskd": DSKD(temperature=2, learning_rate=0.02),
                "next_token": NextToken(),
                "hidden_states": HiddenStates(
                    projection="linear", learning_rate=0.03, fades_by=None
                ),
            },
            balance=GradMag(),
            optimizer=lambda groups: torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.0),
            schedule=lambda step: 1 / (step + 1),
            gradient_clip=1.0,
            config={},
        )

    return make


@pytest.fixture
def fit(collator, rows):
    def fit(module, steps, ckpt_path=None):
        trainer = L.Trainer(
            accelerator="cpu",
            max_steps=steps,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        # an epoch of two steps, at the end of which a loader need not know where it was
        batches = [collator(rows[:2])] * 2
        loader = DataLoader(batches, batch_size=None, collate_fn=list)
        trainer.fit(module, loader, ckpt_path=ckpt_path, weights_only=True)
        return trainer

    return fit


def test_they_are_trained_at_a_rate_of_their_own(make):
    module = make()
    own = dict(module.named_parameters())
    projectors = {own[name] for name in PROJECTORS}
    assert projectors <= set(module.trained_parameters())
    others, apart, of_map = module.configure_optimizers()["optimizer"].param_groups
    assert (others["lr"], apart["lr"], of_map["lr"]) == (1e-3, 0.02, 0.03)
    assert set(apart["params"]) == projectors
    assert set(of_map["params"]) == {own[MAP]}
    assert set(others["params"]) | projectors | {own[MAP]} == set(module.trained_parameters())


def test_hidden_states_without_a_map_have_no_rate():
    assert HiddenStates(projection=None, learning_rate=0.03, fades_by=None).learning_rate is None


@pytest.mark.parametrize("rate", [0, -1.0, math.nan])
def test_a_rate_at_which_a_map_could_not_learn(rate):
    with pytest.raises(ValueError, match=rf"HiddenStates: learning_rate is {rate}: expected"):
        HiddenStates(projection="linear", learning_rate=rate, fades_by=None)


def test_they_move_as_far_as_their_rate_says(make, fit):
    """The first step of Adam changes a parameter by its rate, wherever its gradient is not 0."""
    module = make()
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    fit(module, 1)
    after = module.state_dict()
    moved = {name: float((after[name] - old).abs().max()) for name, old in before.items()}
    for name in PROJECTORS:
        assert moved[name] == pytest.approx(0.02, rel=1e-2)
    assert moved[MAP] == pytest.approx(0.03, rel=1e-2)


def test_all_rates_follow_the_schedule(make, fit):
    trainer = fit(make(), 3)
    rates = [group["lr"] for group in trainer.optimizers[0].param_groups]
    assert rates == pytest.approx([1e-3 / 4, 0.02 / 4, 0.03 / 4])


def test_a_run_goes_on_with_them(make, fit, tmp_path):
    unbroken = make()
    fit(unbroken, 4)
    expected = {name: value.clone() for name, value in unbroken.state_dict().items()}
    path = tmp_path / "stopped.ckpt"
    fit(make(), 2).save_checkpoint(path)
    saved = torch.load(path, weights_only=False)
    assert saved["state_dict"].keys() >= PROJECTORS
    # moments of each parameter, of all groups
    (optimizer,) = saved["optimizer_states"]
    assert [len(group["params"]) for group in optimizer["param_groups"]][1:] == [len(PROJECTORS), 1]
    resumed = make()
    trainer = fit(resumed, 4, ckpt_path=path)
    assert trainer.global_step == 4
    found = resumed.state_dict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
        if name in PROJECTORS:
            assert not torch.equal(value, saved["state_dict"][name])
