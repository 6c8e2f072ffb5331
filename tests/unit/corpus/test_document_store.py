import pickle

import numpy as np
import pyarrow
import pytest

from alm_lightning.corpus import document_store
from alm_lightning.corpus.chat import Chat, Message
from alm_lightning.corpus.document import Document
from alm_lightning.corpus.document_store import InMemory, OnDisk, select
from alm_lightning.corpus.heldout import split_documents

DOCUMENTS = [
    Document("né\r\n\x00 \U0001f468", name="a:1"),
    Chat((Message("user", "Hi"), Message("assistant", "")), name="a:2"),
    Chat((), name="a:3"),
    Document("", name="a:4"),
]


@pytest.fixture
def on_disk(tmp_path):
    return OnDisk(folder=str(tmp_path / "documents"))


@pytest.mark.parametrize("batch_bytes", [1, 1 << 20])
def test_documents_come_back_as_they_were(on_disk, monkeypatch, batch_bytes):
    monkeypatch.setattr(document_store, "BATCH_BYTES", batch_bytes)
    stored = on_disk.write(iter(DOCUMENTS))
    assert list(stored) == DOCUMENTS
    assert stored[-1] == DOCUMENTS[-1]
    with pytest.raises(IndexError, match="has 4 documents; there is no 4"):
        stored[4]
    assert list(select(stored, np.array([2, 0]))) == [DOCUMENTS[2], DOCUMENTS[0]]


def test_another_process_maps_the_file(on_disk):
    stored = on_disk.write(DOCUMENTS)
    # what a worker is sent is a path, of any size of corpus
    assert len(pickle.dumps(stored)) < 300
    assert list(pickle.loads(pickle.dumps(stored))) == DOCUMENTS


def test_one_corpus_is_one_file(on_disk, tmp_path):
    paths = {on_disk.write(DOCUMENTS).path for _ in range(2)}
    assert [*(tmp_path / "documents").iterdir()] == [*paths]
    assert on_disk.write(DOCUMENTS[1:]).path not in paths


def test_nothing_is_left_of_a_corpus_that_fails(on_disk, tmp_path):
    def documents():
        yield DOCUMENTS[0]
        raise ValueError("the network")

    with pytest.raises(ValueError, match="the network"):
        on_disk.write(documents())
    assert not [*(tmp_path / "documents").iterdir()]


def test_no_documents(on_disk):
    assert len(on_disk.write([])) == 0


def test_a_split_is_the_same_in_either_store(on_disk):
    documents = [Document(f"text {n % 190}", name=f"rows:{n}") for n in range(200)]
    chats = [Chat((Message("user", f"chat {n}"),), name=f"chats:{n}") for n in range(50)]
    splits = [
        split_documents(documents + chats, heldout_share=0.2, seed=3, store=store)
        for store in (InMemory(), on_disk)
    ]
    assert list(splits[1].train) == splits[0].train
    assert list(splits[1].heldout) == splits[0].heldout
    assert splits[1].summary() == splits[0].summary()
    assert all(splits[0].trains_on(document) for document in splits[0].train)
    assert not any(splits[0].trains_on(document) for document in splits[0].heldout)


def test_texts_stay_on_disk(on_disk):
    text = "x" * 100_000
    before = pyarrow.total_allocated_bytes()
    stored = on_disk.write(Document(text + str(n), name=str(n)) for n in range(200))
    # 20 MB of text; what Arrow allocates beyond the mapped file is next to nothing
    assert pyarrow.total_allocated_bytes() - before < 1_000_000
    assert stored[150].text == text + "150"
