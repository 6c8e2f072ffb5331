"""Compressed files: what they hold, and what is said of damaged ones."""

import bz2
import gzip
import json
import lzma

import pyarrow
import pyarrow.parquet
import pytest

from alm_lightning.corpus.document import CorpusError
from alm_lightning.corpus.sources.columns import PlainText
from alm_lightning.corpus.sources.compression import opened
from alm_lightning.corpus.sources.files import JsonLines, Parquet, TextFile

CONTENT = "".join(json.dumps({"text": f"line {n}\u2028"}) + "\n" for n in range(5000)).encode()


def zstd(content: bytes) -> bytes:
    return pyarrow.compress(content, codec="zstd", asbytes=True)


COMPRESS = {".gz": gzip.compress, ".zst": zstd, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.fixture(params=COMPRESS)
def kind(request):
    return request.param


@pytest.mark.parametrize("parts", [1, 2])
def test_lines_come_out_as_they_went_in(tmp_path, kind, parts):
    # two compressed files one after another are one: `cat a.gz b.gz > c.gz`
    path = tmp_path / f"a.jsonl{kind}"
    path.write_bytes(COMPRESS[kind](CONTENT) * parts)
    with opened(path) as stream:
        assert list(stream) == CONTENT.splitlines(keepends=True) * parts
    source = JsonLines(path=str(path), column="text", reader=PlainText())
    documents = list(source.documents())
    assert len(documents) == 5000 * parts
    assert documents[4999].text == "line 4999\u2028"
    assert documents[4999].name == f"a.jsonl{kind}:5000"


@pytest.mark.parametrize("kind", [".gz", ".zst", ".xz"])
def test_the_content_tells_and_not_the_name(tmp_path, kind):
    path = tmp_path / "a.txt"
    path.write_bytes(COMPRESS[kind](b"one\n\ntwo"))
    documents = TextFile(path=str(path), separator="\n\n").documents()
    assert [document.text for document in documents] == ["one", "two"]


def test_a_text_may_begin_as_a_bzip2_file_does(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"BZh is how such files begin.")
    assert [d.text for d in TextFile(path=str(path), separator=None).documents()] == [
        "BZh is how such files begin."
    ]


def test_a_zstd_file_may_begin_with_a_frame_to_skip(tmp_path):
    path = tmp_path / "a.txt.zst"
    # pzstd writes one: its magic number, the length of what follows, and that
    path.write_bytes(b"\x50\x2a\x4d\x18\x04\0\0\0\x11\0\0\0" + zstd(b"one"))
    assert [d.text for d in TextFile(path=str(path), separator=None).documents()] == ["one"]


def test_a_plain_file_that_is_called_compressed(tmp_path, kind):
    path = tmp_path / f"a.jsonl{kind}"
    path.write_bytes(b"{}\n")
    source = JsonLines(path=str(path), column="text", reader=PlainText())
    with pytest.raises(CorpusError, match=rf"is called \{kind}, but starts with b'.+take the suff"):
        list(source.documents())


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], None])
def test_damaged_files(tmp_path, kind, damage):
    path = tmp_path / f"a.jsonl{kind}"
    whole = COMPRESS[kind](CONTENT)
    middle = len(whole) // 2
    # None: some bytes in the middle are others
    damaged = whole[:middle] + b"damage" + whole[middle + 6 :] if damage is None else damage(whole)
    path.write_bytes(damaged)
    # a checksum comes at the end of its data: a line before it may show the damage first
    shown = "damaged or cut off|not JSON|not UTF-8" if damage is None else "damaged or cut off"
    source = JsonLines(path=str(path), column="text", reader=PlainText())
    with pytest.raises(CorpusError, match=shown):
        list(source.documents())


def test_parquet(tmp_path, kind):
    plain = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["one", "two"]}), plain)
    packed = tmp_path / f"b.parquet{kind}"
    packed.write_bytes(COMPRESS[kind](plain.read_bytes()))
    source = Parquet(path=[str(plain), str(packed)], column="text", reader=PlainText())
    assert [(document.name, document.text) for document in source.documents()] == [
        ("a.parquet:0", "one"),
        ("a.parquet:1", "two"),
        (f"b.parquet{kind}:0", "one"),
        (f"b.parquet{kind}:1", "two"),
    ]


def test_an_error_of_a_document_is_not_taken_for_damage(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": 1}\n'))
    with pytest.raises(CorpusError, match=r"a.jsonl.gz:1: expected text"):
        list(JsonLines(path=str(path), column="text", reader=PlainText()).documents())
