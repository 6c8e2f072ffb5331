"""Output folders: no two runs share one, and none is written over."""

import threading
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tests.config.conftest import CONF

from alm_lightning.app.hydra.callbacks import (
    RefuseExistingFolder,
    TakeFreeFolder,
    free_folder,
)
from alm_lightning.app.hydra.processes import is_first_process


def config(*overrides, hydra=(), node="train"):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        cfg = compose(node, [*overrides, *hydra], return_hydra_config=True)
    OmegaConf.set_readonly(cfg.hydra, None)
    OmegaConf.set_struct(cfg, False)
    # compose() leaves out what the command line tells of
    cfg.hydra.overrides.hydra = list(hydra)
    OmegaConf.set_struct(cfg, True)
    OmegaConf.set_readonly(cfg.hydra, True)
    return cfg


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_folders_that_are_asked_for_at_once_differ(tmp_path):
    found, start = [], threading.Barrier(8)

    def ask():
        start.wait()
        found.append(free_folder(tmp_path / "runs" / "2026"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = {folder.name for folder in found}
    assert names == {"2026", *(f"2026-{number}" for number in range(2, 9))}
    assert {folder.name for folder in (tmp_path / "runs").iterdir()} == names


def test_where_no_folder_can_be_made_a_sentence_says_so(tmp_path):
    # a disk that is not there
    (tmp_path / "outputs").symlink_to(tmp_path / "disk")
    with pytest.raises(SystemExit, match=r"no folder can be made at .*outputs.*hydra\.run\.dir"):
        free_folder(tmp_path / "outputs" / "2026")
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="no folder can be made at"):
        free_folder(tmp_path / "file" / "2026")


@pytest.mark.parametrize("node", ["train", "evaluate"])
def test_runs_of_one_second_have_folders_of_their_own(node):
    # a second run of the same second: the same composed configuration
    first, second = config(node=node), config(node=node)
    time = first.hydra.run.dir
    OmegaConf.set_readonly(second.hydra, False)
    second.hydra.run.dir = time
    for cfg in (first, second):
        TakeFreeFolder().on_run_start(cfg)
    assert (first.hydra.run.dir, second.hydra.run.dir) == (time, f"{time}-2")
    assert Path(time).is_dir()
    assert Path(f"{time}-2").is_dir()


def test_sweeps_of_one_second_have_folders_of_their_own():
    # a sweep's runs are composed anew with these overrides
    first, second = config(), config()
    time = first.hydra.sweep.dir
    OmegaConf.set_readonly(second.hydra, False)
    second.hydra.sweep.dir = time
    for cfg, folder in ((first, time), (second, f"{time}-2")):
        TakeFreeFolder().on_multirun_start(cfg)
        assert cfg.hydra.sweep.dir == folder
        assert list(cfg.hydra.overrides.hydra) == [f"hydra.sweep.dir='{folder}'"]


def test_a_bake_off_keeps_its_folder():
    cfg = config("sweep=bakeoff")
    for _ in range(2):
        TakeFreeFolder().on_multirun_start(cfg)
        assert cfg.hydra.sweep.dir == "multirun/gemma_to_bytes/bakeoff"
    assert not Path("multirun").exists()


def test_a_search_goes_on_in_its_folder_and_in_no_other(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="the extra sweeps")
    cfg = config("sweep=search")
    for _ in range(2):
        RefuseExistingFolder().on_multirun_start(cfg)
        TakeFreeFolder().on_multirun_start(cfg)
        assert cfg.hydra.sweep.dir == "multirun/gemma_to_bytes/search"
    given = config("sweep=search", hydra=[f"hydra.sweep.dir={tmp_path}"])
    with pytest.raises(SystemExit, match="never writes over"):
        RefuseExistingFolder().on_multirun_start(given)


def test_a_folder_that_was_given_is_refused_where_it_exists(monkeypatch):
    cfg = config(hydra=["hydra.run.dir=mine"])
    RefuseExistingFolder().on_run_start(cfg)
    TakeFreeFolder().on_run_start(cfg)
    assert not Path("mine").exists()
    Path("mine").mkdir()
    with pytest.raises(SystemExit, match=r"the output folder mine exists, .* never writes over"):
        RefuseExistingFolder().on_run_start(cfg)
    # a process of a run on several devices finds the folder of the first one
    monkeypatch.setenv("LOCAL_RANK", "1")
    RefuseExistingFolder().on_run_start(cfg)
    assert cfg.hydra.run.dir == "mine"


@pytest.mark.parametrize(
    ("task", "hydra"),
    [
        (["paths.output_dir=mine"], []),
        ([], ["hydra.sweep.subdir=mine"]),
        (["sweep=search", "paths.output_dir=mine"], []),
    ],
)
def test_one_folder_for_all_runs_of_a_sweep_is_refused(task, hydra):
    if "sweep=search" in task:
        pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="the extra sweeps")
    with pytest.raises(SystemExit, match=r"=mine would be the folder of every run"):
        RefuseExistingFolder().on_multirun_start(config(*task, hydra=hydra))


def test_folders_that_differ_are_taken():
    for hydra in ("hydra.sweep.subdir=run_${hydra.job.num}", "hydra.sweep.dir=mine"):
        RefuseExistingFolder().on_multirun_start(config(hydra=[hydra]))
    RefuseExistingFolder().on_multirun_start(config("paths.output_dir=run_${seed}"))


def test_joblib_starts_no_runs_of_several_processes():
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="the extra sweeps")
    joblib = "hydra/launcher=joblib"
    RefuseExistingFolder().on_multirun_start(config("trainer.devices=1", joblib))
    for devices in ("2", "[0,1]"):
        with pytest.raises(SystemExit, match="a run of 2 processes can't be started there"):
            RefuseExistingFolder().on_multirun_start(config(f"trainer.devices={devices}", joblib))
    RefuseExistingFolder().on_multirun_start(config("trainer.devices=2"))


@pytest.mark.parametrize(
    ("rank", "size"), [("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")]
)
def test_a_search_is_one_process(monkeypatch, rank, size):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="the extra sweeps")
    monkeypatch.setenv(rank, "0")
    monkeypatch.setenv(size, "1")
    RefuseExistingFolder().on_multirun_start(config("sweep=search"))
    monkeypatch.setenv(size, "2")
    with pytest.raises(SystemExit, match="as 2 processes"):
        RefuseExistingFolder().on_multirun_start(config("sweep=search"))


@pytest.mark.parametrize("rank", ["RANK", "SLURM_PROCID"])
def test_a_folder_that_was_given_is_that_of_the_first_process(monkeypatch, rank):
    """Whichever starts first: torchrun and SLURM start them all at the same time."""
    first, other = (config(hydra=["hydra.run.dir=mine"]) for _ in range(2))
    monkeypatch.setenv(rank, "1")
    TakeFreeFolder().on_run_start(other)
    RefuseExistingFolder().on_run_start(other)
    assert other.hydra.run.dir == "mine_rank1"
    monkeypatch.setenv(rank, "0")
    TakeFreeFolder().on_run_start(first)
    RefuseExistingFolder().on_run_start(first)
    assert first.hydra.run.dir == "mine"


def test_the_rank_of_torchrun_alone_decides(monkeypatch):
    """Its first process may have been started by any task of SLURM."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "mine")
    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert not is_first_process()
    monkeypatch.setenv("RANK", "0")
    assert is_first_process()
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("RANK", "8")
    assert not is_first_process()


def test_a_rank_that_a_container_has_does_not_decide(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    assert is_first_process()
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not is_first_process()


@pytest.mark.parametrize("rank", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
def test_processes_beside_the_first_leave_it_its_folder(monkeypatch, rank):
    first, other = config(), config()
    OmegaConf.set_readonly(other.hydra, False)
    other.hydra.run.dir = time = first.hydra.run.dir
    monkeypatch.setenv(rank, "3")
    TakeFreeFolder().on_run_start(other)
    assert other.hydra.run.dir == f"{time}_rank3"
    monkeypatch.delenv(rank)
    TakeFreeFolder().on_run_start(first)
    assert first.hydra.run.dir == time
