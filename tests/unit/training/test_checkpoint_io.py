"""A checkpoint is there as a whole, or the one before it is."""

import errno
import io

import pytest
import torch
from hydra import compose, initialize_config_dir
from tests.runs import REPOSITORY

from alm_lightning.app.train.build import build_trainer
from alm_lightning.training.checkpoint_io import WholeFiles


class FullDisk(io.FileIO):
    """Has room for a thousand bytes."""

    def write(self, content) -> int:
        if self.tell() + len(content) > 1000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(content)


def test_what_is_saved_is_loaded(tmp_path):
    path = tmp_path / "checkpoints" / "last.ckpt"
    WholeFiles().save_checkpoint({"state_dict": {"w": torch.arange(9)}}, path)
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]
    loaded = WholeFiles().load_checkpoint(path)
    assert loaded["state_dict"]["w"].tolist() == [*range(9)]


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    WholeFiles().save_checkpoint({"step": 1}, path)
    before = path.read_bytes()
    monkeypatch.setattr(type(path), "open", lambda place, mode: FullDisk(str(place), mode))
    with pytest.raises(OSError, match=r"No space left on device, for a checkpoint: .*last\.ckpt"):
        WholeFiles().save_checkpoint({"weights": torch.zeros(10_000)}, path)
    monkeypatch.undo()
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]
    assert path.read_bytes() == before


@pytest.mark.parametrize("keep", [0, 100, 1500])
def test_a_part_of_a_checkpoint_is_named(tmp_path, keep):
    path = tmp_path / "stopped.ckpt"
    WholeFiles().save_checkpoint({"weights": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"stopped.ckpt can't be read \(.+Take another one"):
        WholeFiles().load_checkpoint(path)


@pytest.mark.parametrize("trainer", ["auto", "cpu"])
def test_runs_write_their_checkpoints_so(tmp_path, trainer):
    given = [
        f"trainer={trainer}",
        f"paths.output_dir={tmp_path}",
        "callbacks.save_when_stopped=null",
    ]
    with initialize_config_dir(version_base="1.3", config_dir=str(REPOSITORY / "conf")):
        made = build_trainer(compose("train", given))
    assert isinstance(made.strategy.checkpoint_io, WholeFiles)
