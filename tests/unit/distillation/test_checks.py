"""Settings that are checked by value."""

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy
from tests.config.conftest import CONF

from alm_lightning.app.train.checks import check_settings
from alm_lightning.distillation.checks import (
    ABOVE_ZERO,
    AT_LEAST,
    check_numbers,
    check_trainer,
    check_validation,
    chosen_precision,
    chosen_workers,
)
from alm_lightning.training.sharding import ShardedStrategy


@pytest.mark.parametrize("budget", sorted(file.stem for file in (CONF / "budget").glob("*.yaml")))
def test_numbers_of_the_files_are_good(budget, tmp_path):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        check_settings(compose("train", [f"budget={budget}", f"paths.output_dir={tmp_path}"]))


def test_what_may_be_none_or_zero():
    check_numbers({"gradient_clip": None, "validate_every": None, "checkpoint_every": None})
    check_numbers({"seed": 0, "num_workers": 0, "steps": 0})


@pytest.mark.parametrize("name", AT_LEAST)
@pytest.mark.parametrize("value", ["abc", 1.5, True, -1])
def test_what_is_to_be_whole(name, value):
    with pytest.raises(ValueError, match=rf"^{name} is .*: expected a whole number of at least"):
        check_numbers({name: value})


@pytest.mark.parametrize("name", ["seed", "steps", "batch_size"])
def test_what_may_not_be_none(name):
    with pytest.raises(ValueError, match=f"{name} is None"):
        check_numbers({name: None})


@pytest.mark.parametrize("name", ABOVE_ZERO)
@pytest.mark.parametrize("value", ["abc", 0, -1, float("inf"), float("nan"), True])
def test_what_is_to_be_above_zero(name, value):
    with pytest.raises(ValueError, match=rf"^{name} is .*: expected a number above 0, such as"):
        check_numbers({name: value})


@pytest.mark.parametrize("limit", [0, 0.0])
def test_a_trainer_that_evaluates_nothing(limit):
    with pytest.raises(ValueError, match=rf"limit_val_batches is {limit}, .* Leave .* out"):
        check_validation(limit)
    for other in (None, 1, 0.5):
        check_validation(other)


def test_numbers_of_numpy():
    check_numbers({"steps": np.int64(2), "learning_rate": np.float32(0.1), "gradient_clip": 1})
    with pytest.raises(ValueError, match="steps is"):
        check_numbers({"steps": np.bool_(True)})


@pytest.mark.parametrize(
    ("given", "gpus", "cores", "workers"),
    [
        ("auto", 0, 16, 0),
        ("auto", 1, 16, 4),
        ("auto", 1, 3, 2),
        ("auto", 8, 16, 1),
        ("auto", 8, 4, 0),
        (7, 1, 2, 7),
    ],
)
def test_processes_that_prepare_batches(monkeypatch, given, gpus, cores, workers):
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(cores), raising=False)
    assert chosen_workers(given, "auto") == workers
    assert chosen_workers("auto", "cpu") == 0
    if given == "auto":
        assert chosen_workers(given, "auto", is_stream=True) == min(workers, 1)


@pytest.mark.parametrize(("cuda", "name"), [(True, "GPU"), (False, "processor")])
def test_bfloat16_that_is_emulated(monkeypatch, caplog, cuda, name):
    for module in ("distillation.checks", "likelihood.hardware"):
        monkeypatch.setattr(f"alm_lightning.{module}.uses_cuda", lambda device: cuda)
    quick = [False]
    monkeypatch.setattr(
        "alm_lightning.distillation.checks.multiplies_bfloat16", lambda device: quick[0]
    )
    assert chosen_precision("bf16-mixed", "auto") == "bf16-mixed"
    assert f"this {name} has no instructions for bfloat16" in caplog.text
    caplog.clear()
    assert chosen_precision("auto", "auto") == chosen_precision("32-true", "auto") == "32-true"
    quick[0] = True
    chosen_precision("bf16-mixed", "auto")
    assert not caplog.text


class Mine(DDPStrategy):
    """As DeepSpeed's, which splits models in its own way."""


def test_strategies_that_are_objects():
    for strategy in (DDPStrategy(), ShardedStrategy(shard_teacher=True), "auto", "ddp"):
        check_trainer("auto", strategy)
    for strategy, name in ((Mine(), "Mine"), (FSDPStrategy(), "FSDPStrategy"), ("fsdp", "fsdp")):
        with pytest.raises(ValueError, match=f"^strategy is {name}: expected one of auto, ddp"):
            check_trainer("auto", strategy)
