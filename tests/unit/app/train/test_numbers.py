"""Settings that are numbers."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tests.config.conftest import CONF

from alm_lightning.app.train.numbers import ABOVE_ZERO, WHOLE, check_numbers


@pytest.fixture(scope="module")
def composed():
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return compose("train")


@pytest.fixture
def cfg(composed):
    return composed.copy()


@pytest.mark.parametrize("budget", sorted(file.stem for file in (CONF / "budget").glob("*.yaml")))
def test_numbers_of_the_files_are_good(budget):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        check_numbers(compose("train", [f"budget={budget}"]))


def test_what_may_be_null_or_zero(cfg):
    cfg.gradient_clip = cfg.budget.validate_every = cfg.budget.checkpoint_every = None
    cfg.seed = cfg.num_workers = cfg.budget.steps = 0
    check_numbers(cfg)


@pytest.mark.parametrize("key", WHOLE)
@pytest.mark.parametrize("value", ["abc", 1.5, True, -1])
def test_what_is_to_be_whole(cfg, key, value):
    OmegaConf.update(cfg, key, value)
    with pytest.raises(ValueError, match=rf"{key} is .*: expected a whole number of at least"):
        check_numbers(cfg)


@pytest.mark.parametrize("key", ["seed", "budget.steps", "budget.batch_size"])
def test_what_may_not_be_null(cfg, key):
    OmegaConf.update(cfg, key, None)
    with pytest.raises(ValueError, match=f"{key} is None"):
        check_numbers(cfg)


@pytest.mark.parametrize("key", ABOVE_ZERO)
@pytest.mark.parametrize("value", ["abc", 0, -1, float("inf"), float("nan"), True])
def test_what_is_to_be_above_zero(cfg, key, value):
    OmegaConf.update(cfg, key, value)
    with pytest.raises(ValueError, match=rf"{key} is .*: expected a number above 0, such as"):
        check_numbers(cfg)
