import json

import pytest
from tests.unit.data.orders import documents, make_pairing, texts_by_step

from alm_lightning.corpus.bad_documents import Skip
from alm_lightning.corpus.document import CorpusError
from alm_lightning.corpus.heldout import fraction
from alm_lightning.corpus.reading import DocumentStream
from alm_lightning.corpus.sources.columns import PlainText
from alm_lightning.corpus.sources.files import JsonLines
from alm_lightning.corpus.sources.hub import HubDataset
from alm_lightning.data.stream import StreamedWindows

# more workers than this machine may have cores
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

NUMBER = 30


@pytest.fixture
def stream(tmp_path):
    """A file of thirty texts, of which some are held out, and one line is broken."""

    def make(on_bad=None, share=0.1):
        lines = [json.dumps({"text": document.text}) for document in documents(NUMBER)]
        (tmp_path / "a.jsonl").write_text("\n".join([*lines[:7], "x", *lines[7:]]), "utf-8")
        source = JsonLines(path=str(tmp_path / "a.jsonl"), column="text", reader=PlainText())
        return DocumentStream(
            source, on_bad=on_bad or Skip(), heldout_share=share, split_by="document", seed=0
        )

    return make


@pytest.fixture
def windows(stream, views):
    def make(shuffle_buffer=0, **changes):
        return StreamedWindows(
            stream(**changes), pairing=make_pairing(views), shuffle_buffer=shuffle_buffer
        )

    return make


def trained(share=0.1):
    return [d.text for d in documents(NUMBER) if fraction(d.text, 0) >= share]


def flat(steps):
    return [text for step in steps for text in step]


def test_the_order_is_the_streams_pass_after_pass(windows):
    expected = trained()
    assert 0 < len(expected) < NUMBER
    assert flat(texts_by_step(windows(), num_steps=18)) == (expected * 3)[:72]


@pytest.mark.parametrize("shuffle_buffer", [0, 5, 1000])
def test_any_number_of_workers_and_ranks_and_a_continued_run(windows, shuffle_buffer):
    made = windows(shuffle_buffer)
    whole = texts_by_step(made)
    assert len(whole) == 9
    assert {len(step) for step in whole} == {4}
    for num_workers in (1, 2, 3):
        assert texts_by_step(made, num_workers=num_workers) == whole
        assert texts_by_step(made, num_workers=num_workers, first_step=4) == whole[4:]
    shares = [texts_by_step(made, rank=rank, world_size=2, num_workers=2) for rank in (0, 1)]
    for step, first, second in zip(whole, *shares, strict=True):
        assert (first, second) == (step[::2], step[1::2])


def test_a_pass_is_shuffled_anew_and_holds_each_document_once(windows):
    size = len(trained())
    order = flat(texts_by_step(windows(7), num_steps=18))
    assert sorted(order[:size]) == sorted(order[size : 2 * size]) == sorted(trained())
    assert order[:size] not in (trained(), order[size : 2 * size])
    assert flat(texts_by_step(windows(7), num_steps=18, seed=4)) != order


def test_others_shares_are_read_and_not_paired(windows, monkeypatch):
    made = windows()
    met = []
    pair = made.pairing.first_window
    monkeypatch.setattr(made.pairing, "first_window", lambda d: met.append(d.text) or pair(d))
    texts_by_step(made, first_step=5, num_steps=6, rank=1, world_size=2)
    assert met == [(trained() * 2)[21], (trained() * 2)[23]]


def test_bad_rows_are_counted_once_however_many_read_them(windows):
    skip = Skip()
    made = windows(on_bad=skip)
    texts_by_step(made, num_workers=3, num_steps=18)
    assert skip.counts() == {"not JSON": 1}


def test_a_document_that_cannot_be_paired_leaves_a_gap(windows, monkeypatch):
    made = windows()
    whole = texts_by_step(made)
    pair = made.pairing.first_window
    left_out = trained()[2]
    monkeypatch.setattr(
        made.pairing, "first_window", lambda d: None if d.text == left_out else pair(d)
    )
    for num_workers in (0, 2):
        found = texts_by_step(made, num_workers=num_workers)
        # the place stays empty, so that all that comes after it stays where it was
        assert found == [[None if t == left_out else t for t in step] for step in whole]


def test_a_stream_of_nothing(windows):
    with pytest.raises(ValueError, match="0 documents gave no window"):
        windows(share=0.9999999)


def test_a_stream_that_runs_dry(windows, monkeypatch):
    made = windows()
    monkeypatch.setattr(made.documents, "documents", lambda on_bad: iter(()))
    with pytest.raises(CorpusError, match="no document to train on"):
        texts_by_step(made)


def test_a_buffer_of_less_than_nothing(windows):
    with pytest.raises(ValueError, match="shuffle_buffer is -1"):
        windows(-1)


def test_a_data_set_of_several_files_that_is_streamed(views, tmp_path):
    """`datasets` must not share the files out among the workers: each reads all of them."""
    rows = [json.dumps({"text": document.text}) for document in documents(NUMBER)]
    for number in range(3):
        part = "\n".join(rows[10 * number : 10 * number + 10])
        (tmp_path / f"{number}.jsonl").write_text(part, "utf-8")
    source = HubDataset(
        name=str(tmp_path),
        config=None,
        revision=None,
        split="train",
        column="text",
        reader=PlainText(),
        streaming=True,
        max_documents=None,
    )
    stream = DocumentStream(source, on_bad=Skip(), heldout_share=0.1, split_by="document", seed=0)
    made = StreamedWindows(stream, pairing=make_pairing(views), shuffle_buffer=0)
    expected = (trained() * 2)[:36]
    for num_workers in (0, 2, 4):
        assert flat(texts_by_step(made, num_workers=num_workers)) == expected
