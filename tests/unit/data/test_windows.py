import pytest

from alm_lightning import align_text
from alm_lightning.alignment.boundaries import Finest
from alm_lightning.corpus.document import Document
from alm_lightning.data.examples import AllWindows, FirstWindow, Pairing
from alm_lightning.data.sampler import Steps, StepSampler

TEXT = "The quick brown fox, 12345 times: naïve 日本語 and so on. " * 5


def pairing(views, student_length=30, teacher_length=25):
    return Pairing(
        student=views["bytes"],
        teacher=views["metaspace"],
        alignment=Finest(),
        student_length=student_length,
        teacher_length=teacher_length,
    )


def test_windows_tile_the_document(views):
    found = pairing(views).windows(Document(TEXT, name="doc"))
    aligned = align_text(TEXT, student=views["bytes"], teacher=views["metaspace"])
    assert sum(window.num_bytes for window in found) == len(TEXT.encode())
    assert sum(window.num_chunks for window in found) == len(aligned.chunks)
    spelled = b"".join(bytes(window.student.ids.tolist()) for window in found)
    assert spelled == TEXT.encode()
    for window in found:
        # room is left for a BOS and an EOS
        assert len(window.student.ids) <= 28
        assert len(window.teacher.ids) <= 23
        assert window.student.chunk_ids[0] == 0
        assert window.student.chunk_ids[-1] == window.teacher.chunk_ids[-1] == window.num_chunks - 1
        teacher = b"".join(views["metaspace"].token_bytes[i] for i in window.teacher.ids)
        assert teacher == bytes(window.student.ids.tolist())
    assert [window.ends_document for window in found] == [False] * (len(found) - 1) + [True]


def test_a_length_below_every_chunk(views):
    found = pairing(views, student_length=3).windows(Document(TEXT, name="doc"))
    # a byte fits, a longer token does not
    assert {bytes(window.student.ids.tolist()) for window in found} <= {
        bytes([byte]) for byte in TEXT.encode()
    }
    with pytest.raises(ValueError, match="leave no room for text"):
        pairing(views, student_length=2)


def test_first_window_is_the_first_of_all(views):
    documents = [Document(TEXT, name="a"), Document("short", name="b")]
    first = FirstWindow(documents, pairing=pairing(views))
    every = AllWindows(documents, pairing=pairing(views))
    assert len(first) == 2
    assert sum(int(window.outside_bytes.sum()) for window in every.items) == 0
    assert (first[0].student.ids == every[0].student.ids).all()
    assert bytes(first[1].student.ids.tolist()) == b"short"


def sampler(**changes):
    settings = {
        "batch_size": 4,
        "first_step": 0,
        "num_steps": 7,
        "seed": 3,
        "rank": 0,
        "world_size": 1,
    }
    num_items = changes.pop("num_items", 10)
    return StepSampler(Steps(**(settings | changes)), num_items=num_items)


def test_each_pass_is_a_permutation():
    steps = list(sampler(num_steps=5))
    order = [index for step in steps for index in step]
    assert sorted(order[:10]) == sorted(order[10:]) == list(range(10))
    assert order[:10] != order[10:]
    assert list(sampler(num_steps=5, seed=4)) != steps


def test_a_resumed_order_continues():
    assert list(sampler(first_step=3)) == list(sampler())[3:]


def test_ranks_share_a_step():
    whole = list(sampler())
    shares = [list(sampler(rank=rank, world_size=2)) for rank in range(2)]
    for step, first, second in zip(whole, *shares, strict=True):
        assert sorted(step) == sorted(first + second)
    with pytest.raises(ValueError, match="multiple of 3"):
        sampler(world_size=3)
