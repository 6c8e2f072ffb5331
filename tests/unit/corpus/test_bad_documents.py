import logging
import multiprocessing
import pickle

import pyarrow
import pyarrow.parquet
import pytest

from alm_lightning.corpus.bad_documents import KINDS, SHOWN, Refuse, Skip, attempt, format_counts
from alm_lightning.corpus.document import BadDocument, CorpusError, Document
from alm_lightning.corpus.sources.columns import Messages, PlainText
from alm_lightning.corpus.sources.files import JsonLines, Parquet, TextFile

ROWS = [
    b'{"text": "one"}',
    b'{"text": 2}',
    b'{"text": "caf\xe9"}',
    b'{"text": "half: \\ud83d"}',
    b'{"text": ',
    b"[" * 100_000,
    b'{"body": "three"}',
    b'["four"]',
    b'{"text": "five"}',
]


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(ROWS))
    return JsonLines(path=str(path), column="text", reader=PlainText())


def names(source, on_bad):
    return [document.name for document in source.documents(on_bad)]


def test_reading_goes_on_after_every_kind_of_bad_row(rows):
    skip = Skip()
    assert names(rows, skip) == ["rows.jsonl:1", "rows.jsonl:9"]
    assert skip.counts() == {
        "not text": 1,
        "not UTF-8": 1,
        "lone surrogate": 1,
        "not JSON": 3,
        "no column": 1,
    }
    # another pass meets the same documents
    assert names(rows, skip) == ["rows.jsonl:1", "rows.jsonl:9"]
    assert sum(skip.counts().values()) == 7


def test_refusing_ends_at_the_first_with_its_name(rows):
    documents = rows.documents(Refuse())
    assert next(documents).text == "one"
    with pytest.raises(BadDocument, match=r"rows\.jsonl:2: expected text \(str\), found int: 2"):
        next(documents)


def test_the_first_few_are_logged_and_the_rest_counted(rows, caplog):
    with caplog.at_level(logging.WARNING):
        names(rows, Skip())
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == SHOWN + 1
    assert "rows.jsonl:2: expected text" in messages[0]
    assert "further documents" in messages[-1]


def test_a_corpus_of_bad_rows_alone_says_so(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"body": 1}\n{"body": 2}\n', encoding="utf-8")
    source = JsonLines(path=str(tmp_path / "a.jsonl"), column="text", reader=PlainText())
    with pytest.raises(CorpusError, match=r"is empty.*Left out as bad: 2 \(no column 2\)"):
        names(source, Skip())


def test_a_fault_of_the_whole_file_is_never_skipped(tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"body": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match="no column 'text'") as caught:
        Parquet(path=str(tmp_path / "a.parquet"), column="text", reader=PlainText()).documents(
            Skip()
        )
    assert not isinstance(caught.value, BadDocument)


def test_parquet_goes_on_after_bad_rows(tmp_path):
    values = [b"ok", b"caf\xe9", None, b"too"]
    table = pyarrow.table({"text": pyarrow.array(values, pyarrow.binary()).view(pyarrow.string())})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    source = Parquet(path=str(tmp_path / "a.parquet"), column="text", reader=PlainText())
    skip = Skip()
    assert names(source, skip) == ["a.parquet:0", "a.parquet:3"]
    assert skip.counts() == {"not text": 1, "not UTF-8": 1}


def test_a_text_file_goes_on_after_a_bad_piece(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\n\ncaf\xe9\n\nthree")
    source = TextFile(path=str(tmp_path / "a.txt"), separator="\n\n")
    skip = Skip()
    assert names(source, skip) == ["a.txt:1", "a.txt:5"]
    with pytest.raises(BadDocument, match=r"a\.txt:3: not UTF-8: byte 0xe9 at position 3"):
        names(source, Refuse())


def test_bad_messages_are_skipped(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        '{"m": "x"}\n{"m": [{"role": "user", "content": "b"}]}\n{"m": [{"role": "user"}]}\n',
        encoding="utf-8",
    )
    source = JsonLines(path=str(tmp_path / "a.jsonl"), column="m", reader=Messages())
    skip = Skip()
    assert names(source, skip) == ["a.jsonl:2"]
    assert sum(skip.counts().values()) == 2
    with pytest.raises(BadDocument, match=r"a\.jsonl:1: expected a list of messages"):
        names(source, Refuse())


def _skip_in_another_process(skip, number):
    skip(BadDocument(f"row {number}: bad", kind="not JSON"))


def test_counts_are_shared_by_processes():
    skip = Skip()
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_skip_in_another_process, args=(skip, number)) for number in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert skip.counts() == {"not JSON": 3}


def test_only_bad_documents_are_caught():
    def fail():
        raise CorpusError("the disk")

    with pytest.raises(CorpusError, match="the disk"):
        attempt(Skip(), fail)
    assert attempt(Skip(), Document, "\ud83d", name="x") is None
    assert attempt(Skip(), Document, "text", name="x") == Document("text", "x")


def test_a_process_that_reads_what_another_counts():
    skip = Skip()
    skip.uncounted()(BadDocument("x: bad"))
    assert skip.counts() == {}
    with pytest.raises(BadDocument):
        Refuse().uncounted()(BadDocument("x: bad"))


def test_the_error_travels_between_processes():
    error = pickle.loads(pickle.dumps(BadDocument("x: bad", kind="not JSON")))
    assert (str(error), error.kind) == ("x: bad", "not JSON")
    assert error.kind in KINDS
    assert format_counts({"not JSON": 1200}) == "1,200 (not JSON 1,200)"
