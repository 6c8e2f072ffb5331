"""Which files a path of the configuration is."""

import os

import pytest

from alm_lightning.corpus.document import CorpusError
from alm_lightning.corpus.document_store import OnDisk
from alm_lightning.corpus.sources.columns import PlainText
from alm_lightning.corpus.sources.files import JsonLines, TextFile
from alm_lightning.corpus.sources.paths import corpus_files, shown_path


@pytest.fixture
def folder(tmp_path):
    """A folder with a space in its name, and files in and below it."""
    data = tmp_path / "my data"
    for name in ("b.txt", "a.txt", "sub/c.txt", "sub/d.jsonl", ".hidden.txt", ".git/e.txt"):
        file = data / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"text of {name}", encoding="utf-8")
    return data


def test_one_file_is_called_by_its_own_name(folder):
    assert corpus_files(str(folder / "a.txt")) == {"a.txt": folder / "a.txt"}
    assert list(corpus_files(str(folder / "sub" / "*.txt"))) == ["c.txt"]


def test_a_folder_is_every_file_below_it_that_is_not_hidden(folder):
    assert list(corpus_files(str(folder))) == ["a.txt", "b.txt", "sub/c.txt", "sub/d.jsonl"]
    assert list(corpus_files(str(folder), suffixes=(".jsonl",))) == ["d.jsonl"]


def test_a_folder_takes_compressed_files_of_the_kind(folder):
    names = ["E.JSONL.GZ", "e.jsonl.gz", "f.JSONL.zst"]
    for name in [*names, "g.txt.gz"]:
        (folder / name).write_bytes(b"")
    assert list(corpus_files(str(folder), suffixes=(".jsonl",))) == [*names, "sub/d.jsonl"]


def test_a_folder_that_is_named_for_a_year(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "2024").mkdir()
    (tmp_path / "2024" / "a.txt").touch()
    # as Hydra reads corpus.source.path=2024
    assert list(corpus_files(2024)) == ["a.txt"]
    assert shown_path(2024) == "2024"


def test_a_pattern_is_its_files_in_the_order_of_their_paths(folder):
    assert list(corpus_files(f"{folder}/*.txt")) == ["a.txt", "b.txt"]
    assert list(corpus_files(f"{folder}/**/*.txt")) == ["a.txt", "b.txt", "sub/c.txt"]
    # suffixes do not apply to a pattern
    assert list(corpus_files(f"{folder}/[b-z].txt", suffixes=(".jsonl",))) == ["b.txt"]


def test_a_list_is_in_its_own_order_and_each_file_once(folder):
    listed = [f"{folder}/b.txt", f"{folder}/*.txt", f"{folder}/sub/../sub/c.txt", str(folder)]
    assert list(corpus_files(listed)) == ["b.txt", "a.txt", "sub/c.txt", "sub/d.jsonl"]


def test_a_file_whose_name_looks_like_a_pattern_is_meant_itself(tmp_path):
    for name in ("part[1].txt", "part1.txt", "what?.txt"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    assert list(corpus_files(str(tmp_path / "part[1].txt"))) == ["part[1].txt"]
    assert list(corpus_files(str(tmp_path / "what?.txt"))) == ["what?.txt"]


def test_home_is_expanded_in_patterns_too(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert list(corpus_files("~/*.txt")) == ["a.txt", "b.txt"]
    assert list(corpus_files("~")) == ["a.txt", "b.txt", "sub/c.txt", "sub/d.jsonl"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("none.txt", r"There is no file at 'none.txt' \(looked for /.*"),
        ("*.md", r"No file matches the pattern '\*.md'; looked from .*put it in quotes"),
        ("my data/s*", r"No file matches the pattern 'my data/s\*' \(1 folders do\)"),
        ([], "empty list of files"),
        (["my data/a.txt", "none.txt"], "There is no file at 'none.txt'"),
    ],
)
def test_a_path_without_a_file(folder, monkeypatch, path, message):
    monkeypatch.chdir(folder.parent)
    with pytest.raises(CorpusError, match=message):
        corpus_files(path)


def test_a_folder_without_files_of_the_kind_says_what_it_holds(folder):
    with pytest.raises(
        CorpusError, match=r"holds a.txt, b.txt, sub/c.txt, sub/d.jsonl; expected .*\.parquet"
    ):
        corpus_files(str(folder), suffixes=(".parquet",))
    (folder.parent / "empty").mkdir()
    with pytest.raises(CorpusError, match="holds no files; expected a file"):
        corpus_files(str(folder.parent / "empty"))


def test_documents_of_several_files_are_named_by_file_and_line(folder):
    source = TextFile(path=[f"{folder}/*.txt", f"{folder}/sub/c.txt"], separator="\n\n")
    assert [(d.name, d.text) for d in source.documents()] == [
        ("a.txt:1", "text of a.txt"),
        ("b.txt:1", "text of b.txt"),
        ("sub/c.txt:1", "text of sub/c.txt"),
    ]


def test_json_lines_of_a_folder(folder):
    (folder / "sub" / "d.jsonl").write_text('{"text": "one"}\n', encoding="utf-8")
    (folder / "e.ndjson").write_text('{"text": "two"}\n{"text": "three"}\n', encoding="utf-8")
    source = JsonLines(path=str(folder), column="text", reader=PlainText())
    found = [("two", "e.ndjson:1"), ("three", "e.ndjson:2"), ("one", "sub/d.jsonl:1")]
    assert [(document.text, document.name) for document in source.documents()] == found


def test_a_path_as_messages_show_it():
    assert shown_path("a/*.txt") == "a/*.txt"
    assert shown_path(["a.txt", "b"]) == "a.txt, b"


def test_names_that_are_not_utf8_go_to_the_disk(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for name in (b"caf\xe9.txt", b"plain.txt"):
        (data / os.fsdecode(name)).write_text("text", encoding="utf-8")
    source = TextFile(path=str(data), separator=None)
    stored = OnDisk(folder=str(tmp_path / "documents")).write(source.documents())
    assert [document.name for document in stored] == ["caf\\udce9.txt:1", "plain.txt:1"]
    assert list(stored) == list(source.documents())


def test_links_to_folders_are_followed_and_each_folder_is_read_once(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "f.txt").write_text("f", encoding="utf-8")
    (folder / "aside").symlink_to(elsewhere)
    plain = ["a.txt", "b.txt", "sub/c.txt", "sub/d.jsonl"]
    assert list(corpus_files(str(folder))) == ["a.txt", "aside/f.txt", *plain[1:]]
    # back up, to what is there anyway, to the same folder again, and to nothing
    (elsewhere / "up").symlink_to(folder)
    (folder / "again").symlink_to(folder / "sub")
    (folder / "twice").symlink_to(elsewhere)
    (folder / "nothing").symlink_to(tmp_path / "none")
    (folder / ".hidden").symlink_to(tmp_path)
    assert list(corpus_files(str(folder))) == ["a.txt", "aside/f.txt", *plain[1:]]
    assert list(corpus_files(str(folder / "aside"), suffixes=(".jsonl",))) == ["d.jsonl"]
