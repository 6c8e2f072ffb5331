import io
import json
import re
import subprocess
import sys

import pytest

from alm_lightning.app.commands.inspect import main


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory, byte_level_tokenizer):
    folder = tmp_path_factory.mktemp("tokenizers") / "tiny"
    byte_level_tokenizer.save_pretrained(folder)
    return str(folder)


def inspect(*arguments, student="bytes", teacher="bytes"):
    main([*arguments, "--student", student, "--teacher", teacher])


def refused(capsys, *arguments, **sides):
    """The one line that a refused command leaves."""
    with pytest.raises(SystemExit) as stopped:
        inspect(*arguments, **sides)
    assert stopped.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    return line


def test_a_text_is_drawn_and_counted(capsys, tokenizer):
    inspect("The fox", teacher=tokenizer)
    captured = capsys.readouterr().out
    assert "“The fox”" in captured
    assert "student  T╎h╎e┃·┃f╎o┃x┃\nteacher  The  ┃·┃fo ┃x┃\n" in captured
    assert "finest alignment" in captured
    assert re.search(r"^coverage +100 %$", captured, re.MULTILINE)


def test_a_pipe_and_a_file(capsys, monkeypatch, tmp_path):
    class Pipe:
        buffer = io.BytesIO("é".encode())

    monkeypatch.setattr(sys, "stdin", Pipe)
    inspect("-")
    assert "\\xc3┃\\xa9┃" in capsys.readouterr().out
    file = tmp_path / "a.txt"
    file.write_text("xy z", encoding="utf-8")
    inspect(str(file), "--alignment", "whitespace")
    assert "x╎y┃·╎z┃" in capsys.readouterr().out


def test_a_page_is_written_and_never_over_another(capsys, tmp_path):
    out = tmp_path / "out.html"
    inspect("first", "--html", str(out))
    assert f"page: {out}" in capsys.readouterr().out
    first = out.read_text("utf-8")
    assert first.startswith("<!doctype html>")
    assert "exists. Choose another name, or replace it with --overwrite." in refused(
        capsys, "second", "--html", str(out)
    )
    assert out.read_text("utf-8") == first
    inspect("second", "--html", str(out), "--overwrite")
    assert "second" in out.read_text("utf-8")


def test_the_terminal_shows_the_first_chunks_and_the_page_its_own_number(capsys, tmp_path):
    out = tmp_path / "out.html"
    inspect("abcdef", "--max-chunks", "2", "--max-page-chunks", "5", "--html", str(out))
    assert "4 more of 6 chunks are not drawn" in capsys.readouterr().out
    assert "1 more of 6 chunks are not drawn" in out.read_text("utf-8")


def test_a_chat_is_drawn(capsys, tmp_path, byte_level_tokenizer):
    byte_level_tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ m.role }}\n{{ m.content }}"
        "<end_of_turn>\n{% endfor %}"
    )
    folder = tmp_path / "chatty"
    byte_level_tokenizer.save_pretrained(folder)
    byte_level_tokenizer.chat_template = None
    chats = tmp_path / "chats.jsonl"
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]
    chats.write_text(json.dumps({"messages": chat}) + "\n", encoding="utf-8")
    out = tmp_path / "chat.html"
    inspect(
        *("--messages", str(chats), "--html", str(out)), student=str(folder), teacher=str(folder)
    )
    captured = capsys.readouterr().out
    assert "student  ⟦<bos>╎<start_of_turn>╎u╎s╎e╎r╎↵⟧┃" in captured
    assert "╌ below: not trained on." in captured
    assert "bytes                   4" in captured
    assert "chats.jsonl:1" in out.read_text("utf-8")


def test_bad_arguments_are_refused_in_a_line(capsys, tmp_path):
    assert "either a text, a file or -, or --messages" in refused(capsys)
    assert "either a text" in refused(capsys, "a", "--messages", "b.jsonl")
    assert "there is no folder" in refused(capsys, "a", "--html", str(tmp_path / "no" / "a.html"))
    assert "is a folder" in refused(capsys, "a", "--html", str(tmp_path))
    assert "no such file" in refused(capsys, "--messages", str(tmp_path / "no.jsonl"))
    assert "no tokenizer" in refused(capsys, "a", teacher=str(tmp_path))
    assert "lone surrogate" in refused(capsys, "a\udcff")
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"\xe9")
    assert "not UTF-8" in refused(capsys, str(latin))
    assert "the file to be read" in refused(capsys, str(latin), "--html", str(latin), "--overwrite")
    assert latin.read_bytes() == b"\xe9"


@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", "²"])
def test_numbers_are_checked(capsys, value):
    with pytest.raises(SystemExit) as stopped:
        inspect("a", "--max-chunks", value)
    assert stopped.value.code == 2
    assert "is not a whole number from 1 on" in capsys.readouterr().err


@pytest.mark.slow
def test_the_module_runs_and_shadows_nothing(tmp_path):
    code = "import alm_lightning.inspect, inspect; print(inspect.signature(len))"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert shown.stdout.startswith("(obj")
    helped = subprocess.run(
        [sys.executable, "-m", "alm_lightning.inspect", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert "examples:" in helped.stdout
