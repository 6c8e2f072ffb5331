"""Which models a bake-off keeps, and what it says of the room on the disk."""

import logging
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
from tests.unit.app.test_bakeoff import SETTINGS, Starter, evaluated

from alm_lightning.app.bakeoff import compete
from alm_lightning.app.bakeoff_found import is_finished
from alm_lightning.app.bakeoff_models import model_folder, space_warning
from alm_lightning.app.bakeoff_plan import Plan
from alm_lightning.app.bakeoff_standing import standing

BYTES = 1000


class Trainer(Starter):
    """Leaves a model as well."""

    def __call__(self, run):
        error = super().__call__(run)
        if error is None:
            model_folder(run).mkdir()
            (model_folder(run) / "model.safetensors").write_bytes(bytes(BYTES))
        return error


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
    before = standing(plan, {})
    again = Trainer()
    assert compete(choosy, again, evaluated) == {}
    assert again.asked == []
    assert models(choosy) == CHOSEN
    assert standing(choosy, {}) == before
    empty(plan)
    assert compete(choosy, Trainer(), evaluated, jobs=jobs) == {}
    assert models(choosy) == CHOSEN
    assert all(is_finished(choosy.run(name, rate[3:], 0).folder) for name, rate, _ in LOST)


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
    assert {key[:2] for key in models(choosy)} == {("alm", "lr_1"), ("next_token", "lr_0.1")}


def test_a_full_disk_is_told_once_and_what_to_do(plan, choosy, monkeypatch, caplog):
    run = plan.run("alm", "0.1", 0)
    Trainer()(run)
    size = sum(path.stat().st_size for path in run.folder.rglob("*") if path.is_file())
    assert size > BYTES
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=3 * size))
    assert space_warning(plan, run, 3) is None
    told = space_warning(plan, run, 4)
    assert told.startswith("alm, learning rate 0.1, seed 0 left 0.0 GB, 4 runs are still to come")
    assert told.endswith("with bakeoff.keep_models=chosen keeps models of the best rates alone.")
    assert "keep_models" not in space_warning(choosy, run, 4)
    empty(plan)
    with caplog.at_level(logging.WARNING):
        compete(plan, Trainer(), evaluated)
    assert caplog.text.count("runs are still to come") == 1
