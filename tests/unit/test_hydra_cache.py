"""What tests compose is what Hydra composes: values and errors."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import OmegaConf
from tests.hydra_cache import COMPOSE, ComposedOnce, create_defaults_list

CONF = Path(__file__).parents[2] / "conf"
BASE = "experiment=gemma_to_smollm2_tokenizer"
RIGHT = [
    ["seed=1"],
    ["seed=2", "budget.steps=3"],
    [BASE, "+x={a: 1}", "objective.alm.temperature=inf"],
    [BASE, "budget=paper", "~optimizer.lr"],
    ["corpus@corpus_other=jsonl", "corpus_other.source.path=x", "hydra.run.dir=x"],
    ["~logger"],
    ["budget={steps: 7}"],
]
WRONG = [
    ["budget.stepz=3"],
    ["budget=huge"],
    ["experiment=nope"],
    ["seed=1,2"],
    ["~seed=5"],
    ["+seed=1"],
    ["+budget=paper"],
    ["tokeniser@x=bytes"],
]


@pytest.fixture
def kept(monkeypatch):
    """A cache of the test's own, not yet in place."""
    monkeypatch.setattr(config_loader_impl, "create_defaults_list", create_defaults_list)
    monkeypatch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", COMPOSE)
    return ComposedOnce(CONF)


def composed(overrides, folder=CONF):
    """A configuration with Hydra's own settings, or the error."""
    with initialize_config_dir(version_base="1.3", config_dir=str(folder)):
        try:
            cfg = compose("train", overrides, return_hydra_config=True)
        except Exception as error:
            return type(error), str(error)
    return cfg


def plain(found):
    """What can be compared: unresolved, as it holds the time."""
    return found if isinstance(found, tuple) else OmegaConf.to_container(found, resolve=False)


def test_configurations_and_errors_are_those_of_hydra(kept):
    cases = [*RIGHT, *WRONG]
    expected = [plain(composed(overrides)) for overrides in cases]
    failed = [isinstance(each, tuple) for each in expected]
    assert failed == [False] * len(RIGHT) + [True] * len(WRONG)
    kept.install()
    for _ in range(2):
        for overrides, each in zip(cases, expected, strict=True):
            assert plain(composed(overrides)) == each, overrides
    # the first two and the last differ in values alone, as do some that are wrong
    assert len(kept.configs) == len(RIGHT) - 2


def test_a_change_stays_in_the_configuration_that_is_changed(kept):
    kept.install()
    first = composed(["seed=1"])
    first.budget.steps = 77
    del first.hydra.overrides.task[0]
    second = composed(["seed=1"])
    assert second.budget.steps != 77
    assert second.hydra.overrides.task == ["seed=1"]


def test_another_folder_is_read_each_time(kept, tmp_path):
    kept.install()
    for value in (1, 2):
        (tmp_path / "train.yaml").write_text(f"value: {value}\n", encoding="utf-8")
        assert composed([], tmp_path).value == value
    assert kept.configs == {}
