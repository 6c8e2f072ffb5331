from functools import partial
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn
from tests.unit.data.orders import RefusesSome, documents, make_pairing

from alm_lightning.corpus.bad_documents import Skip
from alm_lightning.corpus.document import Document
from alm_lightning.data.collator import Collator
from alm_lightning.data.datamodule import DistillDataModule
from alm_lightning.data.examples import AllWindows, FirstWindow
from alm_lightning.data.store import CachedWindows

# more workers than this machine may have cores
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

MIXED = [*documents(9), Document("a bad one", name="bad")]


@pytest.fixture
def make(views):
    def make(train=MIXED, dataset=FirstWindow, evaluation=None, **changes):
        settings = {"batch_size": 3, "num_steps": 5, "evaluation_windows": 4, "num_workers": 0}
        data = DistillDataModule(
            train=train,
            evaluation=evaluation or {"heldout": documents(30, start=20)},
            pairing=make_pairing(views, alignment=RefusesSome(), on_bad=Skip()),
            dataset=dataset,
            collator=Collator(
                student=views["bytes"], teacher=views["metaspace"], micro_batch_size=2
            ),
            seed=1,
            validate_during_fit=True,
            **settings | changes,
        )
        data.trainer = SimpleNamespace(
            global_step=0,
            global_rank=0,
            world_size=1,
            state=SimpleNamespace(fn=TrainerFn.VALIDATING),
        )
        return data

    return make


def ids(loader):
    """Token ids of each step's micro-batches."""
    return [[batch.student.ids for batch in step] for step in loader]


def assert_equal(found, expected):
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert [part.shape for part in one] == [part.shape for part in other]
        assert all(map(torch.equal, one, other))


@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_the_same_batches_with_any_number_of_workers(make, num_workers):
    expected = ids(make().train_dataloader())
    assert_equal(ids(make(num_workers=num_workers).train_dataloader()), expected)
    data = make(num_workers=num_workers)
    data.trainer.global_step = 2
    assert_equal(ids(data.train_dataloader()), expected[2:])


def test_a_step_has_a_row_less_for_a_bad_document(make):
    data = make(num_workers=2, num_steps=10)
    sizes = [sum(map(len, step)) for step in ids(data.train_dataloader())]
    # three passes over nine good documents and a bad one
    assert sorted(sizes) == [2, 2, 2, 3, 3, 3, 3, 3, 3, 3]
    assert data.bad_documents.keys() == {"bad chat"}


def test_a_step_of_bad_documents_alone(make):
    # one row a step: the step of the bad one has no batch at all
    data = make(batch_size=1, num_steps=10)
    assert sorted(len(step) for step in data.train_dataloader()) == [0, *[1] * 9]


def test_a_cache_gives_the_batches_of_windows_in_memory(make, tmp_path):
    cached = partial(CachedWindows, folder=str(tmp_path), windows_per_document=None, num_workers=0)
    assert_equal(
        ids(make(dataset=cached).train_dataloader()),
        ids(make(dataset=AllWindows).train_dataloader()),
    )


def test_no_more_documents_are_paired_than_windows_are_evaluated(make, monkeypatch):
    data = make(evaluation={"heldout": documents(400), "other": documents(2)})
    assert [len(windows) for windows in data.evaluation.values()] == [4, 2]
    assert [len(windows.dataset) for windows in data.evaluation.values()] == [4, 2]
    texts = [bytes(window.student.ids.tolist()) for window in data.evaluation["heldout"]]
    assert texts == [f"text number {number}.".encode() for number in (0, 100, 200, 300)]


def test_ranks_share_what_is_evaluated(make):
    data = make()
    shares = []
    for rank in range(2):
        data.trainer.global_rank, data.trainer.world_size = rank, 2
        shares += [batch for loader in data.val_dataloader() for step in loader for batch in step]
    assert sum(int(batch.num_bytes.sum()) for batch in shares) == 4 * len("text number 20.")


def test_numbers_below_one(make):
    with pytest.raises(ValueError, match=r"budget\.evaluation_windows is 0"):
        make(evaluation_windows=0)


def test_the_total_is_told_at_the_end(make, caplog):
    data = make(train=MIXED, dataset=AllWindows)
    data.teardown("validate")
    assert "left out as bad" not in caplog.text
    data.teardown("fit")
    assert "documents left out as bad: 1 (bad chat 1)" in caplog.text


def test_an_evaluation_set_without_a_window_is_named(make):
    bad = [Document("a bad one", name="bad")]
    with pytest.raises(ValueError, match="evaluation set other: 1 documents gave no window"):
        make(evaluation={"heldout": documents(2), "other": bad})


def test_more_processes_than_windows_are_refused(make):
    data = make(
        evaluation={"heldout": documents(30, start=20), "other": documents(2)}, batch_size=60
    )
    # a process without windows of one set has some of another: 4 are evaluated on
    for number in (1, 2, 3, 4):
        data.check_processes(number)
    message = r"there are 5 processes.* for 4 of them: heldout has 4, other has 2. Take at most 4"
    with pytest.raises(ValueError, match=message):
        data.check_processes(5)
    data.trainer.world_size = 5
    with pytest.raises(ValueError, match=message):
        data.setup("fit")


def test_a_step_that_processes_cannot_share_is_refused(make):
    with pytest.raises(ValueError, match=r"batch_size=3 sequences can't be shared by 2 processes"):
        make().check_processes(2)
