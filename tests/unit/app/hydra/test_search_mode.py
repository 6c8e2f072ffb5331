"""A search goes on in its folder, and in no other's."""

import json

import pytest
from omegaconf import OmegaConf

from alm_lightning.app.hydra.search_mode import (
    MARK,
    check_search,
    is_search,
    mark_search,
    number_trial,
)


def config(*overrides, **params):
    hydra = {"overrides": {"task": list(overrides)}, "sweeper": {"params": params or None}}
    return OmegaConf.create({"hydra": hydra, "search": {"trial": "???"}})


def test_a_search_is_known_by_its_node():
    assert is_search(config())
    assert not is_search(OmegaConf.create({"bakeoff": {}}))


def test_the_same_search_goes_on(tmp_path):
    folder, rate = tmp_path / "new" / "search", {"budget.learning_rate": "interval(1,2)"}
    assert not check_search(folder, config("seed=0", **rate))
    mark_search(folder, config("seed=0", "sweep=search", **rate))
    # the order in which settings are given is none of its settings
    assert check_search(folder, config("sweep=search", "seed=0", **rate))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (config("seed=1"), r"overrides: \['seed=0'\] then, \['seed=1'\] now"),
        (config("seed=0", a="choice(1,2)"), r"searched: None then, {'a': 'choice\(1,2\)'} now"),
    ],
)
def test_another_search_is_refused(tmp_path, other, message):
    mark_search(tmp_path, config("seed=0"))
    before = (tmp_path / MARK).read_text(encoding="utf-8")
    with pytest.raises(SystemExit, match=message):
        check_search(tmp_path, other)
    assert (tmp_path / MARK).read_text(encoding="utf-8") == before
    assert json.loads(before) == {"overrides": ["seed=0"], "searched": None}


def test_a_run_has_the_number_of_its_trial():
    optuna = pytest.importorskip("optuna", reason="the extra sweeps")
    study = optuna.create_study()
    for number in range(3):
        trial = study.ask()
        number_trial(config(), trial)
        assert trial.params == {"search.trial": number}
        study.tell(trial, 1.0)
