"""Which models a bake-off keeps, and what it says of the room on the disk."""

import logging
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
from tests.unit.app.bakeoff.test_schedule import SETTINGS, Starter, compete, evaluated

from alm_lightning.app.bakeoff import models as models_module
from alm_lightning.app.bakeoff.models import (
    model_folder,
    num_models_to_come,
    remove_losing_models,
    space_warning,
)
from alm_lightning.app.bakeoff.plan import Plan
from alm_lightning.app.bakeoff.results import is_finished
from alm_lightning.app.bakeoff.state import criteria, read_state

# runs, one after another
pytestmark = pytest.mark.slow

BYTES = 1000


class Trainer(Starter):
    """Leaves a model as well, before its summary as train.py does."""

    def __call__(self, run):
        if (run.objective, run.rate, run.seed) not in self.failing:
            model_folder(run).mkdir(parents=True)
            (model_folder(run) / "model.safetensors").write_bytes(bytes(BYTES))
        return super().__call__(run)


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "sweep").mkdir()
    overrides = {"alm": ["x=1"], "next_token": ["x=1"]}
    return Plan(tmp_path / "sweep", overrides, {}, ["0.1", "1"], [0, 1, 2], SETTINGS)


@pytest.fixture
def choosy(plan):
    return replace(plan, settings=SETTINGS | {"keep_models": "chosen"})


def empty(plan):
    shutil.rmtree(plan.folder)
    plan.folder.mkdir()


def models(plan):
    return {
        (*path.relative_to(plan.folder).parts[:-1],) for path in plan.folder.glob("*/lr_*/*/model")
    }


CHOSEN = {
    (name, rate, f"seed_{seed}")
    for name, rate in (("alm", "lr_0.1"), ("next_token", "lr_1"))
    for seed in range(3)
}
LOST = {("alm", "lr_1", "seed_0"), ("next_token", "lr_0.1", "seed_0")}


@pytest.mark.parametrize("jobs", [1, 4])
def test_all_models_or_those_of_the_chosen_rates(plan, choosy, jobs):
    assert compete(plan, Trainer(), evaluated, jobs=jobs) == {}
    assert models(plan) == CHOSEN | LOST
    # with the same command: what lost goes, nothing is run, and the table is the same
    before = read_state(plan, {})
    again = Trainer()
    assert compete(choosy, again, evaluated) == {}
    assert again.asked == []
    assert models(choosy) == CHOSEN
    assert read_state(choosy, {}) == before
    empty(plan)
    assert compete(choosy, Trainer(), evaluated, jobs=jobs) == {}
    assert models(choosy) == CHOSEN
    assert all(is_finished(choosy.run(name, rate[3:], 0).folder) for name, rate, _ in LOST)


def test_a_better_run_that_ends_meanwhile_keeps_its_model(choosy, monkeypatch):
    """Of several runs at a time, one may end after the best rate was read."""
    Trainer()(choosy.run("alm", "1", 0))

    def then_another_ends(plan, objective):
        values = criteria(plan, objective)
        Trainer()(plan.run("alm", "0.1", 0))
        return values

    monkeypatch.setattr(models_module, "criteria", then_another_ends)
    remove_losing_models(choosy, "alm")
    assert models(choosy) == {("alm", "lr_0.1", "seed_0"), ("alm", "lr_1", "seed_0")}
    monkeypatch.undo()
    remove_losing_models(choosy, "alm")
    assert models(choosy) == {("alm", "lr_0.1", "seed_0")}


def test_a_model_goes_as_soon_as_another_rate_did_better(choosy):
    at_work = []

    class Watching(Trainer):
        def __call__(self, run):
            at_work.append(len(models(choosy)))
            return super().__call__(run)

    compete(choosy, Watching(), evaluated)
    # never the models of both rates of an objective
    assert at_work[:4] == [0, 1, 1, 2]


def test_what_failed_or_diverged_takes_no_model_with_it(choosy):
    start = Trainer(failing=[("alm", "0.1", 0)], diverging=[("next_token", "1", 0)])
    compete(choosy, start, evaluated)
    kept = (("alm", "lr_1"), ("next_token", "lr_0.1"))
    assert models(choosy) == {(*key, f"seed_{seed}") for key in kept for seed in range(3)}


def test_a_rate_has_not_lost_before_its_run_of_the_choosing_seed_ends(choosy):
    compete(choosy, Trainer(), evaluated)
    # seed 2 chooses now, and rate 0.1 alone has a run of it
    other = replace(choosy, seeds=[2, 0, 1])
    shutil.rmtree(other.run("next_token", "1", 2).folder)
    Trainer()(other.run("next_token", "0.1", 2))
    remove_losing_models(other, "next_token")
    expected = CHOSEN - {("next_token", "lr_1", "seed_2")} | {("next_token", "lr_0.1", "seed_2")}
    assert models(choosy) == expected
    # it ends, and has lost
    Trainer()(other.run("next_token", "1", 2))
    remove_losing_models(other, "next_token")
    assert {key for key in models(choosy) if key[0] == "next_token"} == {
        ("next_token", "lr_0.1", "seed_2")
    }


def test_nothing_loses_to_a_rate_whose_own_model_is_gone(choosy):
    compete(choosy, Trainer(), evaluated)
    reverse = replace(choosy, settings=choosy.settings | {"lower_is_better": False})
    for name in ("alm", "next_token"):
        remove_losing_models(reverse, name)
    assert models(choosy) == CHOSEN


def test_a_model_that_cannot_be_removed_is_told_and_left(choosy, tmp_path, caplog, monkeypatch):
    losing = choosy.run("alm", "1", 0)
    for run in (choosy.run("alm", "0.1", 0), losing):
        Trainer()(run)
    elsewhere = tmp_path / "elsewhere"
    model_folder(losing).rename(elsewhere)
    model_folder(losing).symlink_to(elsewhere)
    remove_losing_models(choosy, "alm")
    assert "is a symbolic link, and is not removed" in caplog.text
    assert (elsewhere / "model.safetensors").is_file()
    model_folder(losing).unlink()
    elsewhere.rename(model_folder(losing))

    def refuse(path):
        raise PermissionError(f"not yours: {path}")

    monkeypatch.setattr(shutil, "rmtree", refuse)
    remove_losing_models(choosy, "alm")
    assert f"could not be removed: not yours: {model_folder(losing)}" in caplog.text


def test_models_to_come_are_those_that_stay(plan, choosy):
    # two objectives, two rates, three seeds
    assert (num_models_to_come(plan), num_models_to_come(choosy)) == (8, 6)
    Trainer()(plan.run("alm", "0.1", 0))
    assert (num_models_to_come(plan), num_models_to_come(choosy)) == (7, 5)
    compete(plan, Trainer(), evaluated)
    assert (num_models_to_come(plan), num_models_to_come(choosy)) == (0, 0)


def test_too_little_room_is_told_once_and_what_to_do(plan, choosy, monkeypatch, caplog):
    run = plan.run("alm", "0.1", 0)
    Trainer()(run)
    size = sum(path.stat().st_size for path in run.folder.rglob("*") if path.is_file())
    assert size > BYTES
    free = SimpleNamespace(free=7 * size)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    assert space_warning(plan, run) is None
    free.free -= 1
    told = space_warning(plan, run)
    assert told.startswith("alm, learning rate 0.1, seed 0 takes 0.0 GB, 7 more models are to come")
    assert "bakeoff.keep_models=chosen" in told
    assert space_warning(choosy, run) is None
    free.free = 5 * size - 1
    assert space_warning(choosy, run).endswith(
        "Free some space, or stop and take fewer seeds or objectives."
    )
    empty(plan)
    with caplog.at_level(logging.WARNING):
        compete(plan, Trainer(), evaluated)
    assert caplog.text.count("more models are to come") == 1
