import datasets
import pytest
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from alm_lightning.corpus.bad_documents import Skip
from alm_lightning.corpus.document import BadDocument, CorpusError
from alm_lightning.corpus.sources.columns import Messages, PlainText
from alm_lightning.corpus.sources.hub import HubDataset


def hub_dataset(**changes):
    arguments = {
        "name": "owner/data",
        "config": None,
        "revision": None,
        "split": "train",
        "column": "text",
        "reader": PlainText(),
        "streaming": False,
        "max_documents": None,
    }
    return HubDataset(**arguments | changes)


@pytest.fixture
def hub(monkeypatch):
    """Stands in for the hub: two rows, and a record of what was asked for."""
    calls = []

    def load_dataset(name, config, *, split, revision, streaming):
        calls.append((name, config, split, revision, streaming))
        chats = [[{"role": "user", "content": text}] for text in "ab"]
        rows = datasets.Dataset.from_dict({"text": ["a", "b"], "messages": chats})
        return rows.to_iterable_dataset() if streaming else rows

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return calls


@pytest.mark.parametrize("streaming", [True, False])
def test_rows_are_numbered(hub, streaming):
    documents = list(hub_dataset(streaming=streaming, revision="v1").documents())
    assert [document.name for document in documents] == ["owner/data/train:0", "owner/data/train:1"]
    assert [document.text for document in documents] == ["a", "b"]
    assert hub == [("owner/data", None, "train", "v1", streaming)]


def test_chats_and_limit(hub):
    source = hub_dataset(column="messages", reader=Messages(), max_documents=1)
    assert [document.text for document in source.documents()] == ["a"]


@pytest.mark.parametrize("streaming", [True, False])
def test_missing_column(hub, streaming):
    with pytest.raises(CorpusError, match=r"no column 'body'.*messages, text"):
        next(hub_dataset(column="body", streaming=streaming).documents())


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("no network"),
        ValueError("unknown split"),
        datasets.exceptions.DatasetGenerationError("damaged"),
    ],
)
def test_what_cannot_be_loaded_is_explained(monkeypatch, error):
    def load_dataset(*args, **kwargs):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(CorpusError, match=rf"'owner/data' \(config None, split train.*{error}"):
        hub_dataset().documents()


def test_a_data_set_that_is_nowhere(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(CorpusError, match=r"cannot be loaded"):
        hub_dataset(name=str(tmp_path / "none")).documents()


def test_a_folder_of_files_streams(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n', encoding="utf-8")
    source = hub_dataset(name=str(tmp_path), streaming=True)
    assert [document.text for document in source.documents()] == ["a", "b"]


@pytest.mark.parametrize("streaming", [True, False])
def test_reading_goes_on_after_a_bad_row(monkeypatch, streaming):
    rows = datasets.Dataset.from_dict({"text": ["a", None, "b"]})
    monkeypatch.setattr(
        datasets,
        "load_dataset",
        lambda *a, streaming, **k: rows.to_iterable_dataset() if streaming else rows,
    )
    source, skip = hub_dataset(streaming=streaming), Skip()
    names = [document.name for document in source.documents(skip)]
    assert names == ["owner/data/train:0", "owner/data/train:2"]
    assert skip.counts() == {"not text": 1}
    with pytest.raises(BadDocument, match="owner/data/train:1: expected text"):
        list(source.documents())


def test_rows_that_cannot_be_decoded(tmp_path):
    """What `datasets` raises in the middle of a stream is a CorpusError."""
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n{"text": "\\ud83d"}\n', encoding="utf-8")
    message = r"train: no row can be read after number -1: .*surrogate.*corpus=jsonl"
    with pytest.raises(CorpusError, match=message):
        list(hub_dataset(name=str(tmp_path), streaming=True).documents(Skip()))


def test_the_cause_of_what_cannot_be_loaded(monkeypatch):
    def load_dataset(*args, **kwargs):
        raise datasets.exceptions.DatasetGenerationError("an error") from ValueError("row 7")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(CorpusError, match=r"cannot be loaded: an error \(row 7\)"):
        hub_dataset().documents()


class Read(IterableDataset):
    """What a worker of a loader reads of a source."""

    def __init__(self, source):
        self.source = source

    def __iter__(self):
        worker = get_worker_info().id
        return ((worker, document.text) for document in self.source.documents())


# more workers than this machine may have cores
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_every_worker_of_a_loader_reads_the_whole_stream(monkeypatch):
    texts = [f"text {number}" for number in range(7)]
    rows = datasets.Dataset.from_dict({"text": texts}).to_iterable_dataset(num_shards=3)
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: rows)
    found = list(DataLoader(Read(hub_dataset(streaming=True)), batch_size=None, num_workers=2))
    for worker in range(2):
        assert [text for reader, text in found if reader == worker] == texts
