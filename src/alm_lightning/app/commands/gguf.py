"""The command `python -m alm_lightning.gguf`: a model as a GGUF file, by llama.cpp's converter."""

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from alm_lightning.app.commands import program_name
from alm_lightning.export.gguf.agreement import (
    conversion_errors,
    conversion_warnings,
    draft_errors,
    draft_warnings,
)
from alm_lightning.export.gguf.converter import (
    DTYPES,
    SCRIPT,
    VARIABLE,
    arguments_of,
    check_free,
    convert,
    find_converter,
)
from alm_lightning.export.gguf.vocabulary import model_folder, of_folder, of_gguf, read_vocabulary

BAD_INPUT = 2
"""Exit status of a command that was called wrongly: argparse's own."""
NO_CONVERTER = 3
"""Exit status where the command was printed in place of being run."""

DESCRIPTION = f"""\
Writes a GGUF file for llama.cpp, by llama.cpp's own converter: --converter, else {SCRIPT} in
the checkout that the variable {VARIABLE} names, else on PATH. Where there is none, the command to
run is printed and the status is {NO_CONVERTER}, for no file was written.

What was written is checked against the model's folder: number of tokens, their order, special
tokens, rows of the embeddings. With --target it is also checked that llama.cpp takes the model as a
draft for that one. A file that fails is not kept."""

EPILOG = """\
examples:
  python -m alm_lightning.gguf outputs/smollm2_draft_for_qwen/<time> --converter ~/llama.cpp \\
      --target qwen2.5-coder-0.5b.gguf
  python -m alm_lightning.gguf outputs/draft --out draft.gguf --check --target qwen.gguf"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Converts a model, or checks a file that was converted.

    Args:
        arguments: Of the command line; those of the process if None.
    """
    options = _parser().parse_args(arguments)
    console = Console(stderr=True, highlight=False)

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    try:
        # absolute, since the file is called after the folder
        folder = model_folder(options.folder.expanduser().resolve())
        out = (options.out or folder.with_name(f"{folder.name}-{options.dtype}.gguf")).expanduser()
        made_of = of_folder(folder)
        target = read_vocabulary(options.target.expanduser()) if options.target else None

        def check(file: Path) -> None:
            written = of_gguf(file)
            _refuse(conversion_errors(written, made_of), f"{out} is not what {folder} holds")
            for difference in conversion_warnings(written, made_of):
                say(f"warning: {difference}")
            if target is not None:
                _refuse(
                    draft_errors(written, target),
                    f"llama.cpp would not take {out} as a draft for {options.target}",
                    "Move the student to the target's tokenizer: tokenizer=teacher, with the "
                    "target as teacher (docs/guides/drafts.md).",
                )
                for difference in draft_warnings(written, target):
                    say(f"warning: {difference}")

        if options.check:
            if options.converter:
                raise ValueError("--check converts nothing: leave out --converter.")
            if not out.is_file():
                raise FileNotFoundError(f"--check: there is no file {out}. Name it by --out.")
            check(out)
        else:
            check_free(out)
            converter = find_converter(options.converter)
            if converter is None:
                _print_command(folder, out, options.dtype)
                say(
                    "llama.cpp's converter is not here, so nothing was written. Fetch it with "
                    "`git clone https://github.com/ggml-org/llama.cpp`, install its "
                    "requirements.txt and run the command above in that folder; or set "
                    f"{VARIABLE} to that folder and run this again. With --check this checks the "
                    "file afterwards."
                )
                sys.exit(NO_CONVERTER)
            say(f"{folder} is converted to {options.dtype} by {converter[-1]}")
            before = signal.signal(signal.SIGTERM, _end)
            try:
                convert(converter, folder, out, options.dtype, check)
            finally:
                signal.signal(signal.SIGTERM, before)
    except (ValueError, OSError, RuntimeError) as error:
        say(f"error: {error}")
        sys.exit(BAD_INPUT)
    Console(highlight=False).print(str(out), markup=False, soft_wrap=True)


def _end(number: int, _: object) -> None:
    """Ends the converter as well, and takes half a file away, as Ctrl-C does."""
    sys.exit(128 + number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program_name("gguf"),
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of a run, or of a model")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="(default: FOLDER-DTYPE.gguf beside the model)"
    )
    parser.add_argument(
        "--dtype", choices=DTYPES, default="f16", help="of the weights (default: f16)"
    )
    parser.add_argument(
        "--target",
        type=Path,
        metavar="PATH",
        help="GGUF file or folder of the model that this one is to draft for",
    )
    parser.add_argument(
        "--converter", type=Path, metavar="PATH", help=f"{SCRIPT}, or a checkout of llama.cpp"
    )
    parser.add_argument(
        "--check", action="store_true", help="convert nothing: check FILE, which is there"
    )
    return parser


def _print_command(folder: Path, out: Path, dtype: str) -> None:
    command = ["python", SCRIPT, *arguments_of(folder.absolute(), out.absolute(), dtype)]
    # as it is, to be copied
    sys.stdout.write(f"{shlex.join(command)}\n")


def _refuse(differences: Sequence[str], wrong: str, advice: str = "") -> None:
    if differences:
        listed = "".join(f"\n  - {difference}" for difference in differences)
        raise ValueError(f"{wrong}:{listed}\n{advice}".rstrip())
