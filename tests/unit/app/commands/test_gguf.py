import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest
from tests.unit.export.gguf.engine_files import write_folder, write_gguf

from alm_lightning.app.commands import gguf as command

COPIES = """
import shutil, sys
shutil.copy({path!r}, sys.argv[sys.argv.index("--outfile") + 1])
"""


@pytest.fixture
def run_folder(tmp_path, byte_level_tokenizer):
    write_folder(tmp_path / "run" / "model", byte_level_tokenizer)
    return tmp_path / "run"


@pytest.fixture
def converter(tmp_path, byte_level_tokenizer):
    """A script in the converter's place, which writes a GGUF that was made before."""

    def make(**changes):
        made = write_gguf(tmp_path / "made.gguf", byte_level_tokenizer, **changes)
        path = tmp_path / "convert_hf_to_gguf.py"
        path.write_text(COPIES.format(path=str(made)), encoding="utf-8")
        return str(path)

    return make


@pytest.fixture(autouse=True)
def nowhere(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("LLAMA_CPP", raising=False)


def ended(*arguments):
    with pytest.raises(SystemExit) as left:
        command.main([str(argument) for argument in arguments])
    return left.value.code


def test_a_run_is_converted_and_checked(
    run_folder, converter, byte_level_tokenizer, capsys, tmp_path
):
    target = write_folder(tmp_path / "target", byte_level_tokenizer, vocab_size=350)
    command.main(
        [str(run_folder), "--converter", converter(), "--target", str(target), "--dtype", "q8_0"]
    )
    out = run_folder / "model-q8_0.gguf"
    said = capsys.readouterr()
    assert said.out.split() == [str(out)]
    assert "warning: the draft has 346 rows and the target 350" in said.err
    assert out.is_file()
    # again, it is in the way; alone, it can be checked
    assert ended(run_folder, "--dtype", "q8_0") == command.BAD_INPUT
    assert "never writes over" in capsys.readouterr().err
    command.main([str(run_folder / "model"), "--dtype", "q8_0", "--check"])
    assert capsys.readouterr().out.split() == [str(out)]


def test_without_a_converter_the_command_is_printed(run_folder, tmp_path, capsys):
    out = tmp_path / "a draft.gguf"
    assert ended(run_folder, "--out", out) == command.NO_CONVERTER
    said = capsys.readouterr()
    assert shlex.split(said.out) == [
        *("python", "convert_hf_to_gguf.py", str(run_folder / "model")),
        *("--outfile", str(out), "--outtype", "f16"),
    ]
    assert "git clone https://github.com/ggml-org/llama.cpp" in said.err
    assert not out.exists()


def test_a_wrong_conversion_and_a_wrong_draft(
    run_folder, converter, byte_level_tokenizer, tmp_path, capsys
):
    out = tmp_path / "x.gguf"
    arguments = [run_folder, "--out", out, "--converter"]
    assert ended(*arguments, converter(rows=340, eos_token_id=4)) == command.BAD_INPUT
    said = capsys.readouterr().err
    assert "x.gguf is not what" in said
    assert "\n  - the embedding matrix has 340 rows" in said
    assert "\n  - eos is 4 in the file and 1 in the folder" in said
    assert not out.exists()
    target = write_gguf(tmp_path / "t.gguf", byte_level_tokenizer, add_bos_token=False)
    assert ended(*arguments, converter(), "--target", target) == command.BAD_INPUT
    said = capsys.readouterr().err
    assert "would not take" in said
    assert "\n  - add_bos_token is True in the draft and False in the target" in said
    assert "tokenizer=teacher" in said
    assert not out.exists()


def test_a_student_over_bytes_is_refused(tmp_path, capsys):
    folder = tmp_path / "run" / "model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "alm_byte_lm"}))
    assert ended(folder.parent, "--converter", "nowhere") == command.BAD_INPUT
    assert "a student over bytes: llama.cpp knows no such model" in capsys.readouterr().err


@pytest.mark.parametrize("given", [".", "../model", ".."])
def test_a_folder_is_named_from_within(run_folder, converter, monkeypatch, given):
    made_by = converter()
    monkeypatch.chdir(run_folder / "model")
    command.main([given, "--converter", made_by])
    assert (run_folder / "model-f16.gguf").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere: expected a run's folder, or a model's."),
        (["."], "has no config.json"),
        (["run", "--target", "no.gguf"], "There is no no.gguf: expected a GGUF file, a run's"),
        (["run", "--check"], "run/model-f16.gguf. Name it by --out."),
    ],
)
def test_what_is_not_there(run_folder, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(run_folder.parent)
    assert ended(*arguments) == command.BAD_INPUT
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("config.json", "[]", "config.json holds a list: expected an object"),
        ("config.json", "{", "config.json is no JSON"),
        ("generation_config.json", "[]", "generation_config.json holds a list"),
        ("config.json", None, "config.json can't be read"),
    ],
)
def test_a_damaged_folder_is_named(run_folder, capsys, name, text, said):
    path = run_folder / "model" / name
    if text is None:
        text = json.dumps(json.loads(path.read_text()) | {"vocab_size": "a"})
    path.write_text(text)
    assert ended(run_folder) == command.BAD_INPUT
    assert said in capsys.readouterr().err


def test_a_signal_ends_the_converter_as_well(run_folder, tmp_path):
    """And takes what it has written away."""
    path = tmp_path / "convert_hf_to_gguf.py"
    path.write_text(
        "import os, sys, time\n"
        "out = sys.argv[sys.argv.index('--outfile') + 1]\n"
        "open(out, 'w').write(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    call = [sys.executable, "-m", "alm_lightning.gguf", str(run_folder), "--converter", str(path)]
    with subprocess.Popen(call) as process:
        end = time.monotonic() + 60
        while not (found := list(run_folder.glob(".*.gguf"))) and time.monotonic() < end:
            time.sleep(0.1)
        while not (number := found[0].read_text()):
            time.sleep(0.1)
        process.terminate()
        assert process.wait(30) == 128 + signal.SIGTERM
    assert [file.name for file in run_folder.iterdir()] == ["model"]
    with pytest.raises(ProcessLookupError):
        os.kill(int(number), 0)
