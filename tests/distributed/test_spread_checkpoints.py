"""A folder of a spread run is there as a whole, or not at all."""

import errno

import lightning as L
import pytest
import torch
from tests.distributed.ranks import on_ranks
from tests.distributed.small_run import fit, make_module
from tests.invariant.test_adapted_step import windows
from torch.distributed.checkpoint.filesystem import FileSystemWriter

from alm_lightning.data.collator import Collator
from alm_lightning.models.adapters import LowRank
from alm_lightning.models.own_vocabulary import OwnVocabulary
from alm_lightning.models.pair import Scorer
from alm_lightning.objectives.next_token import NextToken
from alm_lightning.objectives.sampled import SampledGradMag
from alm_lightning.training.checkpoint_io import WholeFiles
from alm_lightning.training.sharding import ShardedStrategy, strategy

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


class Fails(L.Callback):
    """Saves and removes where the first rank can't, or does not see what the other wrote."""

    def __init__(self, folder):
        self.folder, self.errors = folder, []

    def on_train_end(self, trainer, pl_module):
        (self.folder / "file").touch()
        path = self.folder / "step.ckpt"
        self.expect(OSError, lambda: trainer.save_checkpoint(self.folder / "file" / "step.ckpt"))
        trainer.save_checkpoint(path)
        put, write = strategy._put, strategy.FileSystemWriter
        strategy._put = self.full
        self.expect(OSError, lambda: trainer.save_checkpoint(path))
        strategy._put = self.broken
        self.expect(RuntimeError, lambda: trainer.save_checkpoint(path))
        strategy._put = put
        if trainer.global_rank == 1:
            # another machine, with a disk of its own
            strategy.FileSystemWriter = lambda part: write(self.folder / "disk" / part.name)
        self.expect(OSError, lambda: trainer.save_checkpoint(path))
        strategy.FileSystemWriter = write
        trainer.strategy.checkpoint_io.remove_checkpoint = self.full
        self.expect(OSError, lambda: trainer.strategy.remove_checkpoint(path))

    def expect(self, kind, work):
        with pytest.raises(kind) as caught:
            work()
        self.errors.append(str(caught.value))

    def full(self, *args):
        raise OSError(errno.ENOSPC, "No space left on device")

    def broken(self, *args):
        raise TypeError("can't pickle that")


def test_a_failure_of_the_first_rank_is_one_of_all(scorers, collator, rows, tmp_path):
    module = make_module(scorers, {"next_token": NextToken()})
    steps = [collator(rows[:2])]

    def work(rank):
        fails = Fails(tmp_path)
        fit(
            module,
            steps,
            callbacks=[fails],
            strategy=ShardedStrategy(shard_teacher=True),
            devices=2,
            plugins=[WholeFiles()],
        )
        return fails.errors

    for errors in on_ranks(work, 2, tmp_path / "ranks"):
        not_a_folder, full, broken, unseen, kept = errors
        assert "Not a directory, for a checkpoint: " in not_a_folder
        assert "No space left on device, for a checkpoint" in full
        assert "can't pickle that\") on the first process, for a checkpoint" in broken
        assert "does not see 1 of 2 files that were written (__1_0.distcp). Give a fold" in unseen
        assert "No space left on device, for a checkpoint" in kept
    # what was there before is whole still, and nothing in part
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["disk", "file", "ranks", "step.ckpt"]
    assert WholeFiles().load_checkpoint(tmp_path / "step.ckpt")["optimizer_states"]


def test_of_another_run(scorers, collator, rows, tmp_path):
    module = make_module(scorers, {"next_token": NextToken()}, config={"seed": 0})
    steps = [collator(rows[:2])]
    settings = {"plugins": [WholeFiles()], "strategy": ShardedStrategy(shard_teacher=True)}

    class Loads(L.Callback):
        def on_train_end(self, trainer, pl_module):
            folder, self.errors = tmp_path / "folder.ckpt", []
            trainer.save_checkpoint(folder)
            trainer.strategy.barrier()
            file = tmp_path / f"file_{trainer.global_rank}.ckpt"
            whole = WholeFiles().load_checkpoint(folder)
            states = whole["state_dict"]
            name = next(iter(states))
            less = {n: v for n, v in states.items() if n != name}
            for weights in (
                less,
                {**states, "more": states[name]},
                {**less, name: states[name][:1]},
            ):
                torch.save({**whole, "state_dict": weights}, file)
                self.expect(trainer, file)
            pl_module.config = {"seed": 1}
            for path in (folder, file):
                self.expect(trainer, path)

        def expect(self, trainer, path):
            with pytest.raises(ValueError, match="the checkpoint") as caught:
                trainer.strategy.load_checkpoint(path)
            self.errors.append(str(caught.value))

    def work(rank):
        loads = Loads()
        fit(module, steps, callbacks=[loads], devices=1, **settings)
        return loads.errors

    (errors,) = on_ranks(work, 1, tmp_path / "ranks")
    missing, unexpected, shape, *others = errors
    assert "is of another model: it lacks student." in missing
    assert "it has, and this run has not, more (1 in all). Take one of a run" in unexpected
    assert "it has in other shapes student." in shape
    assert all("run with other settings" in error for error in others)


def test_what_is_no_trained_tensor(scorers, tmp_path):
    """A number of steps goes on. A frozen matrix is in checkpoints of earlier versions alone."""
    _, teacher = scorers
    make_student = OwnVocabulary(dtype=torch.float32)
    model = make_student(teacher.model, old=teacher.view, new=teacher.view, share_body=True)
    LowRank(rank=2, alpha=2, share_body=True, train_embeddings=False).adapt(model)
    pair = (Scorer(model, teacher.view), teacher)
    collator = Collator(student=teacher.view, teacher=teacher.view, micro_batch_size=2)
    steps = [collator(windows(*pair))]
    balance = SampledGradMag(every=10, decay=0.5)
    module = make_module(pair, {"next_token": NextToken()}, balance=balance)
    head = "student.lm_head.weight"
    assert head in module.state_dict()

    class Loads(L.Callback):
        def on_train_end(self, trainer, pl_module):
            balance = pl_module.balance
            balance.steps_since = 4
            folder, file = tmp_path / "folder.ckpt", tmp_path / "file.ckpt"
            trainer.save_checkpoint(folder)
            whole = WholeFiles().load_checkpoint(folder)
            self.names, self.found = list(whole["state_dict"]), []
            older = {head: pl_module.state_dict()[head].full_tensor()}
            for more in ({}, older):
                torch.save({**whole, "state_dict": whole["state_dict"] | more}, file)
                for path in (folder, file):
                    balance.steps_since = 0
                    trainer.strategy.load_checkpoint(path)
                    self.found.append(balance.steps_since)

    def work(rank):
        loads = Loads()
        strategy = ShardedStrategy(shard_teacher=True)
        fit(module, steps, callbacks=[loads], strategy=strategy, plugins=[WholeFiles()])
        return loads.names, loads.found

    ((names, found),) = on_ranks(work, 1, tmp_path / "ranks")
    assert found == [4] * 4
    trained = {name for name, p in module.named_parameters() if p.requires_grad}
    assert {name for name in names if name.startswith("student.")} == trained


def test_a_folder_is_removed_as_a_whole(tmp_path):
    folder = tmp_path / "step_1.ckpt"
    folder.mkdir()
    (folder / "meta.pt").touch()
    WholeFiles().remove_checkpoint(folder)
    assert not list(tmp_path.iterdir())
