"""A folder of a spread run is there as a whole, or not at all."""

import errno

import lightning as L
import pytest
from tests.distributed.ranks import on_ranks
from tests.distributed.small_run import fit, make_module
from torch.distributed.checkpoint.filesystem import FileSystemWriter

from alm_lightning.objectives.next_token import NextToken
from alm_lightning.training.checkpoint_io import WholeFiles
from alm_lightning.training.sharding import ShardedStrategy

pytestmark = [
    pytest.mark.distributed,
    # only training is of interest here
    pytest.mark.filterwarnings("ignore:You defined a `validation_step`"),
]


class Saves(L.Callback):
    """Saves a checkpoint, then finds no room for two others."""

    def __init__(self, folder):
        self.folder, self.errors = folder, []

    def on_train_end(self, trainer, pl_module):
        trainer.save_checkpoint(self.folder / "first.ckpt")
        trainer.save_checkpoint(self.folder / "first.ckpt")
        write = FileSystemWriter.write_data

        def full(self, *args):
            raise OSError(errno.ENOSPC, "No space left on device")

        if trainer.global_rank == 1:
            FileSystemWriter.write_data = full
        for name in ("first.ckpt", "second.ckpt"):
            try:
                trainer.save_checkpoint(self.folder / name)
            except OSError as error:
                self.errors.append(str(error))
        FileSystemWriter.write_data = write


def test_a_full_disk(scorers, collator, rows, tmp_path):
    module = make_module(scorers, {"next_token": NextToken()})
    steps = [collator(rows[:2])]

    def work(rank):
        saves = Saves(tmp_path)
        fit(
            module,
            steps,
            callbacks=[saves],
            strategy=ShardedStrategy(shard_teacher=True),
            devices=2,
            plugins=[WholeFiles()],
        )
        return saves.errors

    results = on_ranks(work, 2, tmp_path / "ranks")
    for errors in results:
        assert len(errors) == 2
        assert all("No space left on device, for a checkpoint" in error for error in errors)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.ckpt", "ranks"]
    # what was there before is whole still
    loaded = WholeFiles().load_checkpoint(tmp_path / "first.ckpt")
    trained = {n for n, p in module.named_parameters() if p.requires_grad}
    assert trained <= loaded["state_dict"].keys()
    assert not [n for n in loaded["state_dict"] if "expansion.embedding" in n]
    (state,) = loaded["optimizer_states"]
    assert len(state["state"]) == len(trained)
    (tmp_path / "first.ckpt/meta.pt").unlink()
    with pytest.raises(ValueError, match=r"can't be read \(it has no meta.pt\): it is damaged"):
        WholeFiles().load_checkpoint(tmp_path / "first.ckpt")


def test_a_folder_is_removed_as_a_whole(tmp_path):
    folder = tmp_path / "step_1.ckpt"
    folder.mkdir()
    (folder / "meta.pt").touch()
    WholeFiles().remove_checkpoint(folder)
    assert not list(tmp_path.iterdir())
