import gzip
import json
import runpy
import sys

import pytest
from tests.unit.alignment.bias.byte_bpe import bpe

from alm_lightning.app.commands import bias as bias_command

TEXTS = ["x 122", "x 12", "x 12"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A tokenizer that has ' 122', a corpus, a cache, and a terminal that is wide enough."""
    monkeypatch.setenv("ALM_LIGHTNING_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "120")
    bpe("Ġ 1", "Ġ1 2", "Ġ12 2").hf.save_pretrained(tmp_path / "tokenizer")
    lines = "\n".join(json.dumps({"text": text}) for text in TEXTS)
    (tmp_path / "texts.jsonl").write_text(lines)
    with gzip.open(tmp_path / "texts.jsonl.gz", "wt") as file:
        file.write(lines.replace('"text"', '"content"'))
    (tmp_path / "texts.txt").write_text("\n\n".join(TEXTS))
    return tmp_path


def run(folder, corpus, *more):
    bias_command.main(
        [
            f"--student={folder / 'tokenizer'}",
            "--teacher=bytes",
            f"--corpus={folder / corpus}",
            *more,
        ]
    )


@pytest.mark.parametrize(
    ("corpus", "more"), [("texts.jsonl", ()), ("texts.jsonl.gz", ("--column", "content"))]
)
def test_tables(folder, capsys, corpus, more):
    run(folder, corpus, "--thresholds", "0.5,0.1", *more)
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "documents 3 " in shown
    # x and x, ' 122' and '2', ' 12' and '2'
    assert "pairs of end tokens 3 " in shown
    # 6 tokens of the student, 13 of the teacher, 6 chunks; ends of documents are never merged
    assert "finest 6 0.00% 1.000 2.167" in shown
    assert "0.5 6 0.00% 1.000 2.167" in shown
    assert "0.1 6 0.00% 1.000 2.167" in shown
    # one of six tokens excludes a '2' after ' 12'
    assert "b' 12' b'2' 0.167 2" in shown
    assert "statistics.npz" in shown


def test_what_a_threshold_merges(folder, capsys):
    (folder / "longer.jsonl").write_text(
        "\n".join(json.dumps({"text": text}) for text in ["x 122", "x 12x"])
    )
    run(folder, "longer.jsonl", "--thresholds", "0.1")
    # five tokens, of which ' 122' is one: 0.2 between ' 12' and x
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "finest 5 0.00% 1.000 2.000" in shown
    assert "0.1 4 20.00% 1.250 2.500" in shown


def test_a_text_file_and_a_limit(folder, capsys):
    run(folder, "texts.txt", "--limit", "2")
    assert "documents │ 2 │" in " ".join(capsys.readouterr().out.split())


def test_a_second_run_finds_the_file(folder, capsys, monkeypatch):
    run(folder, "texts.jsonl")
    first = capsys.readouterr().out
    monkeypatch.setattr("alm_lightning.alignment.bias.jobs.count_documents", None)
    run(folder, "texts.jsonl")
    again = capsys.readouterr().out
    without_seconds = [
        [line for line in shown.splitlines() if "seconds" not in line] for shown in (first, again)
    ]
    assert without_seconds[0] == without_seconds[1]


@pytest.mark.parametrize(
    ("corpus", "more", "message"),
    [
        ("missing.jsonl", (), "There is no file at"),
        ("texts.jsonl", ("--column", "txt"), "there is no column 'txt'"),
        ("texts.jsonl", ("--limit", "0"), "--limit is 0; expected at least 1"),
        ("texts.parquet", (), "There is no file at"),
        (
            "texts.*",
            (),
            "texts.jsonl, texts.jsonl.gz, texts.txt; expected files that end in .jsonl",
        ),
    ],
)
def test_bad_arguments_are_said_in_a_sentence(folder, corpus, more, message):
    with pytest.raises(SystemExit) as stopped:
        run(folder, corpus, *more)
    assert str(stopped.value).startswith("error: ")
    assert message in str(stopped.value)


@pytest.mark.parametrize("thresholds", ["0.1,x", "2"])
def test_thresholds_are_biases(folder, capsys, thresholds):
    with pytest.raises(SystemExit):
        run(folder, "texts.jsonl", "--thresholds", thresholds)
    assert "argument --thresholds" in capsys.readouterr().err


def test_help_tells_what_it_is_for(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bias", "--help"])
    # the doctests have imported it already
    monkeypatch.delitem(sys.modules, "alm_lightning.bias", raising=False)
    with pytest.raises(SystemExit):
        runpy.run_module("alm_lightning.bias", run_name="__main__")
    shown = capsys.readouterr().out
    for option in ("--student", "--teacher", "--corpus", "--column", "--workers", "--thresholds"):
        assert option in shown
    assert "merges chunks" in shown
