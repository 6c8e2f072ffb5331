"""What a run is called at W&B."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from tests.runs import REPOSITORY

from alm_lightning.app import log

GIVEN = {"project": "p", "name": "n", "save_dir": ".", "entity": None}


@pytest.fixture
def made(monkeypatch):
    """What the logger is made with, in a job of Hydra's with some overrides."""

    def make(*overrides, group=None, job_type=None, tags=()):
        with initialize_config_dir(version_base="1.3", config_dir=str(REPOSITORY / "conf")):
            config = compose("train", list(overrides), return_hydra_config=True)
        monkeypatch.setattr(HydraConfig.instance(), "cfg", config)
        logger = log.wandb_logger(**GIVEN, group=group, job_type=job_type, tags=tags)
        # what it would start W&B with: nothing is started before something is logged
        return logger._wandb_init

    for name in (log.GROUP, log.JOB_TYPE):
        monkeypatch.delenv(name, raising=False)
    return make


def test_a_single_run_has_no_group(made):
    said = made("objective=alm")
    assert (said["group"], said["job_type"]) == (None, "train")
    assert said["tags"] == [
        "experiment=gemma_to_bytes",
        "objective=alm",
        "tokenizer=bytes",
        "adapter=full",
    ]


def test_runs_of_a_sweep_have_the_name_of_its_folder(made):
    said = made("hydra.mode=MULTIRUN", "hydra.sweep.dir=multirun/gemma_to_bytes/2026-01-31")
    assert (said["group"], said["job_type"]) == ("gemma_to_bytes_2026-01-31", "train")


def test_a_bake_off_tells_its_runs(made, monkeypatch):
    monkeypatch.setenv(log.GROUP, "gemma_to_bytes_bakeoff")
    monkeypatch.setenv(log.JOB_TYPE, "bakeoff")
    said = made()
    assert (said["group"], said["job_type"]) == ("gemma_to_bytes_bakeoff", "bakeoff")


def test_a_key_is_that_of_the_service_in_use(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "keys"
    file.write_text("machine wandb.corp login user password x\n", encoding="utf-8")
    file.chmod(0o600)
    monkeypatch.setenv("NETRC", str(file))
    assert log.is_wandb_offline()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.corp:8080")
    assert not log.is_wandb_offline()


def test_what_is_given_counts(made):
    sweep = ("hydra.mode=MULTIRUN", "hydra.sweep.dir=multirun/a/b")
    said = made(*sweep, group="mine", job_type="trial", tags=["first"])
    assert (said["group"], said["job_type"], said["tags"][0]) == ("mine", "trial", "first")


def test_a_tag_has_the_length_that_wandb_takes(monkeypatch, made):
    monkeypatch.setattr(log, "MOST_OF_A_TAG", 8)
    assert set(map(len, made()["tags"])) == {8}
