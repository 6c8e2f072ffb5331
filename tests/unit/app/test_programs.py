"""What a run tells the sweep that it is part of."""

import math
import os
import sys

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from tests.runs import REPOSITORY

from alm_lightning.app import programs
from alm_lightning.app.errors import UserError


@pytest.fixture
def job(monkeypatch, tmp_path):
    """A job of Hydra's whose training gives a figure, and says how it was started."""

    def run(figure, *overrides):
        with initialize_config_dir(version_base="1.3", config_dir=str(REPOSITORY / "conf")):
            cfg = compose("train", list(overrides), return_hydra_config=True)
        OmegaConf.set_readonly(cfg.hydra, None)
        OmegaConf.set_struct(cfg, False)
        cfg.hydra.runtime.output_dir = str(tmp_path / "7")
        # compose() leaves out what the command line tells of
        cfg.hydra.overrides.task = ["seed=7"]
        cfg.hydra.overrides.hydra = ["hydra.sweep.dir=mine", "hydra.mode=MULTIRUN"]
        monkeypatch.setattr(HydraConfig.instance(), "cfg", cfg)
        seen = {}

        def train(cfg):
            seen["arguments"], seen["folder"] = sys.argv, HydraConfig.get().run.dir
            os.environ["LOCAL_RANK"] = "0"  # as Lightning does where it starts other processes
            return {"bits_per_byte": {"student_after": figure}}

        for name in ("check_known", "name_job"):
            monkeypatch.setattr(programs, name, lambda cfg: None)
        monkeypatch.setattr(programs, "train", train)
        return programs.train_program(cfg), seen

    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", "seed=7,8"])
    return run


def test_other_processes_make_the_same_run_alone(job, tmp_path):
    figure, seen = job(1.5, "hydra.mode=MULTIRUN")
    assert figure == 1.5
    expected = ["hydra.sweep.dir=mine", "seed=7", "hydra.mode=RUN"]
    assert seen["arguments"] == ["train.py", "--config-name", "train", *expected]
    assert seen["folder"] == str(tmp_path / "7")
    # for the next run all is as it was
    assert sys.argv == ["train.py", "-m", "seed=7,8"]
    assert HydraConfig.get().run.dir != str(tmp_path / "7")
    assert "LOCAL_RANK" not in os.environ


def test_a_single_run_is_started_as_it_was(job):
    _, seen = job(1.5, "hydra.mode=RUN")
    assert seen["arguments"] == ["train.py", "-m", "seed=7,8"]
    del os.environ["LOCAL_RANK"]


def test_a_run_of_a_sweep_without_a_number_has_failed(job):
    with pytest.raises(UserError, match="the held-out bits per byte are nan"):
        job(math.nan, "hydra.mode=MULTIRUN")
    figure, _ = job(math.nan, "hydra.mode=RUN")
    assert math.isnan(figure)
    del os.environ["LOCAL_RANK"]
