"""llama.cpp's own converter: where it is, and one call of it."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

SCRIPT = "convert_hf_to_gguf.py"
ON_PATH = (SCRIPT, "convert-hf-to-gguf", "llama-convert-hf-to-gguf")
"""Names that packages of llama.cpp give it."""
VARIABLE = "LLAMA_CPP"
"""Of the environment: a checkout of llama.cpp."""
DTYPES = ("f16", "bf16", "f32", "q8_0")
SHOWN_LINES = 20
"""Of the converter's output, in an error; a traceback ends with what is wrong."""


def find_converter(given: Path | None) -> tuple[str, ...] | None:
    """How llama.cpp's converter is started.

    A script that was named, or is in a checkout, is run by the present Python. What is on PATH was
    installed with a Python of its own, and runs by itself, as does a program that was named.

    Args:
        given: The script, another program that takes its arguments, or a checkout of llama.cpp;
            None looks at the variable LLAMA_CPP, and then on PATH.

    Returns:
        The beginning of a command; None where there is no converter.

    Raises:
        FileNotFoundError: What was given, or what LLAMA_CPP names, is no converter.
    """
    named, source = given, "--converter"
    # an empty variable counts as unset
    if named is None and (checkout := os.environ.get(VARIABLE)):
        named, source = Path(checkout), VARIABLE
    if named is None:
        found = next(filter(None, map(shutil.which, ON_PATH)), None)
        return None if found is None else (found,)
    script = named.expanduser().absolute()
    if script.is_dir():
        script /= SCRIPT
    if not script.is_file():
        raise FileNotFoundError(
            f"{source} is {named}, and there is no file {script}: expected {SCRIPT} or a checkout "
            "of llama.cpp, which has it at its top (https://github.com/ggml-org/llama.cpp)."
        )
    if script.suffix == ".py":
        return sys.executable, str(script)
    if not os.access(script, os.X_OK):
        raise FileNotFoundError(
            f"{source} is {named}, which is neither a Python script (.py) nor executable: name "
            f"{SCRIPT} of llama.cpp, or chmod +x the program."
        )
    return (str(script),)


def arguments_of(folder: Path, out: Path, dtype: str) -> tuple[str, ...]:
    """What the converter is called with.

    Args:
        folder: The model.
        out: The file to write.
        dtype: One of `DTYPES`.

    Returns:
        Arguments, to follow the command.
    """
    return str(folder), "--outfile", str(out), "--outtype", dtype


def convert(
    converter: tuple[str, ...], folder: Path, out: Path, dtype: str, check: Callable[[Path], None]
) -> None:
    """Runs the converter. The file is there whole and checked, or not at all.

    Args:
        converter: Of `find_converter`.
        folder: The model.
        out: The file to write. Its folder is made where it lacks.
        dtype: One of `DTYPES`.
        check: Is called with the file before it gets its name, and raises what is wrong with it.

    Raises:
        FileExistsError: There is something at `out` already.
        RuntimeError: The converter failed, or wrote nothing.
    """
    check_free(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    # a sibling, so that the last step is a rename, which cannot stop half-way
    partial = out.with_name(f".{out.stem}.partial-{os.getpid()}.gguf")
    command = (*converter, *arguments_of(folder, partial, dtype))
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if done.returncode or not partial.is_file():
            state = f"ended with status {done.returncode}" if done.returncode else "wrote no file"
            said = "\n".join(done.stdout.strip().splitlines()[-SHOWN_LINES:])
            raise RuntimeError(
                f"llama.cpp's converter {state}, and nothing was written to {out}. If it does not "
                "know this model, try a newer llama.cpp; if it can't import something, install "
                f"the requirements.txt beside it. The command was\n  {shlex.join(command)}\n"
                f"and its output ends with\n{said or '(nothing)'}"
            )
        check(partial)
        # what has come there meanwhile
        check_free(out)
        partial.rename(out)
    finally:
        partial.unlink(missing_ok=True)


def check_free(out: Path) -> None:
    """Refuses to write over anything.

    Args:
        out: A file that is to be written.

    Raises:
        FileExistsError: There is something at `out`.
    """
    if out.exists():
        raise FileExistsError(
            f"{out} exists, and an export never writes over anything. Choose another file (--out), "
            "or move that one away."
        )
