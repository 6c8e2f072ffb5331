import pytest
from tests.unit.data.orders import RefusesSome, documents, make_pairing, texts_by_step

from alm_lightning.corpus.bad_documents import Skip
from alm_lightning.corpus.document import BadDocument, Document
from alm_lightning.data.examples import AllWindows, FirstWindow

# more workers than this machine may have cores
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

GOOD = documents(10)
MIXED = [*GOOD[:3], Document("a bad one", name="bad"), *GOOD[3:]]


@pytest.mark.parametrize("make", [AllWindows, FirstWindow])
def test_any_number_of_workers_and_a_continued_run(views, make):
    windows = make(GOOD, pairing=make_pairing(views, student_length=12))
    whole = texts_by_step(windows)
    for num_workers in (1, 2, 3):
        assert texts_by_step(windows, num_workers=num_workers) == whole
        assert texts_by_step(windows, num_workers=num_workers, first_step=5) == whole[5:]


def test_a_document_that_cannot_be_paired_ends_the_run(views):
    pairing = make_pairing(views, alignment=RefusesSome())
    with pytest.raises(BadDocument, match="a bad one: can't be paired"):
        AllWindows(MIXED, pairing=pairing)
    windows = FirstWindow(MIXED, pairing=pairing)
    assert windows[0] is not None
    with pytest.raises(BadDocument, match="a bad one: can't be paired"):
        windows[3]
    with pytest.raises(BadDocument, match="a bad one: can't be paired"):
        texts_by_step(windows, num_workers=2)


def test_a_document_that_cannot_be_paired_is_left_out_and_counted(views):
    skip = Skip()
    pairing = make_pairing(views, alignment=RefusesSome(), on_bad=skip)
    assert len(AllWindows(MIXED, pairing=pairing)) == 10
    assert skip.counts() == {"bad chat": 1}


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_in_a_worker_too(views, num_workers):
    skip = Skip()
    windows = FirstWindow(MIXED, pairing=make_pairing(views, alignment=RefusesSome(), on_bad=skip))
    # two passes, and a half
    found = [text for step in texts_by_step(windows, num_workers=num_workers) for text in step]
    assert len(found) == 36
    assert 3 <= found.count(None) <= 4
    # at least once, and once a worker at most
    assert 1 <= skip.counts()["bad chat"] <= max(num_workers, 1)


def test_first_window_is_the_first_of_all(views):
    pairing = make_pairing(views, student_length=9)
    first = FirstWindow(GOOD, pairing=pairing)
    every = AllWindows(GOOD, pairing=pairing)
    assert len(every) > len(first) == 10
    assert (first[0].student.ids == every[0].student.ids).all()


@pytest.mark.parametrize("make", [AllWindows, FirstWindow])
def test_documents_without_a_window(views, make):
    with pytest.raises(ValueError, match=r"2 documents gave no window.*Raise student_length"):
        make(
            [Document(" ", name="a")] * 0 + [Document("", name="b")] * 2,
            pairing=make_pairing(views),
        )
