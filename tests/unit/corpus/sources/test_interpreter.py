import sys
from itertools import islice
from pathlib import Path

import pytest

from alm_lightning.corpus.document import CorpusError
from alm_lightning.corpus.heldout import split_documents
from alm_lightning.corpus.sources import interpreter
from alm_lightning.corpus.sources.interpreter import PythonManual, PythonSource


def test_manual_has_its_topics():
    documents = {document.name: document.text for document in PythonManual().documents()}
    assert "statement" in documents["pydoc_data.topics:compound"]
    assert len(documents) > 30


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_held_out_topics_are_not_trained_on_within_others(seed):
    """Topics contain one another: of all, 30 to 55 % of the held-out text would be trained on."""
    length = 60

    def runs(document):
        text = " ".join(document.text.split())
        return [text[start : start + length] for start in range(len(text) - length + 1)]

    split = split_documents(PythonManual().documents(), heldout_share=0.1, seed=seed)
    trained_on = {run for document in split.train for run in runs(document)}
    heldout = [run for document in split.heldout for run in runs(document)]
    assert sum(run in trained_on for run in heldout) < 0.03 * len(heldout)


def test_a_python_without_its_manual_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(CorpusError, match=r"no pydoc_data.topics"):
        PythonManual().documents()


def test_source_is_ordered_limited_and_lazy():
    names = [document.name for document in PythonSource(max_documents=30).documents()]
    assert len(names) == 30
    endless = islice(PythonSource(max_documents=None).documents(), 30)
    assert names == [document.name for document in endless]


def test_source_skips_tests_packages_manual_and_what_is_not_utf8(tmp_path, monkeypatch):
    for name in ("b.py", "a.py", "pkg/c.py", "test/t.py", "site-packages/s.py", "pydoc_data/p.py"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"x = 1\r\n")
    (tmp_path / "latin.py").write_bytes(b"# caf\xe9\n")
    (tmp_path / "notes.txt").write_text("no code", encoding="utf-8")
    monkeypatch.setattr(interpreter.sysconfig, "get_path", lambda name: str(tmp_path))
    documents = list(PythonSource(max_documents=None).documents())
    assert [document.name for document in documents] == ["a.py", "b.py", "pkg/c.py"]
    assert documents[0].text == "x = 1\r\n"


def test_an_empty_library_is_an_error(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(interpreter.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(CorpusError, match=r"empty"):
        list(PythonSource(max_documents=None).documents())


def test_a_limit_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"max_documents is 0"):
        PythonSource(max_documents=0)
