"""The command `python -m alm_lightning.inspect`: two tokenizations and their chunks, drawn."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from alm_lightning.alignment.boundaries import ChunkSelection, Finest, Whitespace
from alm_lightning.alignment.chat.messages import TRAINED, align_messages
from alm_lightning.alignment.text import align_text
from alm_lightning.app.commands import program_name
from alm_lightning.corpus.chat import SYSTEM_POLICIES
from alm_lightning.inspection import (
    GivenText,
    draw,
    given_chat,
    given_text,
    html_page,
    report_of,
)
from alm_lightning.tokenization.load import load_tokenizer

ALIGNMENTS: dict[str, type[ChunkSelection]] = {"finest": Finest, "whitespace": Whitespace}
BAD_INPUT = 2
"""Exit status of a command that was called wrongly: argparse's own."""

DESCRIPTION = """\
Draws a text under two tokenizers: the student's tokens over the teacher's, chunk by chunk. A chunk
is a stretch of text that both sides delimit: the same bytes in both, whatever their tokens. Below
come the counts: tokens and chunks, their lengths, and what lies in no chunk and why."""

EPILOG = """\
examples:
  python -m alm_lightning.inspect "naïve café 👍🏽" --student bytes --teacher google/gemma-3-270m
  python -m alm_lightning.inspect notes.txt --student bytes --teacher gemma.gguf --html out.html
  git show | python -m alm_lightning.inspect - --student bytes --teacher gpt2 --alignment whitespace
  python -m alm_lightning.inspect --messages chats.jsonl --row 3 --student ./a --teacher ./b"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws a text, or a chat, under two tokenizers.

    Args:
        arguments: Of the command line; those of the process if None.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        _run(options)
    except (ValueError, OSError) as error:
        # what is wrong with an argument is said in one line; a traceback would bury it
        message = " ".join(str(error).split())
        Console(stderr=True).print(
            f"error: {message}", markup=False, highlight=False, soft_wrap=True
        )
        sys.exit(BAD_INPUT)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program_name("inspect"),
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    tokenizer = "a folder, a hub id, a tokenizer file, a GGUF, or bytes"
    parser.add_argument(
        "text",
        nargs="?",
        metavar="TEXT",
        help="a text, the path of a text file in UTF-8, or - (stdin)",
    )
    parser.add_argument("--student", required=True, metavar="SPEC", help=tokenizer)
    parser.add_argument("--teacher", required=True, metavar="SPEC", help=tokenizer)
    parser.add_argument(
        "--alignment", choices=ALIGNMENTS, default="finest", help="which chunks (default: finest)"
    )
    parser.add_argument(
        "--max-chunks",
        type=_positive,
        default=300,
        metavar="N",
        help="chunks to draw in the terminal (default: 300)",
    )
    page_options = parser.add_argument_group("page")
    page_options.add_argument(
        "--html", metavar="FILE", help="write one self-contained page as well"
    )
    page_options.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    page_options.add_argument(
        "--max-page-chunks",
        type=_positive,
        default=20_000,
        metavar="N",
        help="chunks to draw on the page, about 400 bytes each (default: 20000)",
    )
    chat = parser.add_argument_group("chat, in place of TEXT")
    chat.add_argument("--messages", metavar="FILE", help="a .jsonl or .jsonl.gz file of chats")
    chat.add_argument(
        "--row", type=int, default=1, metavar="N", help="its line, from 1 (default: 1)"
    )
    chat.add_argument(
        "--column", default="messages", help="the key that holds the messages (default: messages)"
    )
    chat.add_argument("--trained", choices=TRAINED, default="assistant", help="default: assistant")
    chat.add_argument(
        "--system",
        choices=SYSTEM_POLICIES,
        default="own",
        help="what becomes of system messages (default: own)",
    )
    template = "a named chat template, or one in Jinja (default: the tokenizer's own)"
    chat.add_argument("--student-template", metavar="TEMPLATE", help=template)
    chat.add_argument("--teacher-template", metavar="TEMPLATE", help=template)
    return parser


def _positive(value: str) -> int:
    if not value.isascii() or not value.isdigit() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"{value!r} is not a whole number from 1 on")
    return int(value)


def _run(options: argparse.Namespace) -> None:
    # all that can be wrong with the arguments is found before tokenizers take their time
    if (options.text is None) == (options.messages is None):
        raise ValueError("expected either a text, a file or -, or --messages with a file of chats.")
    if options.html is not None:
        _check_output(options)
    given = (
        given_text(options.text, sys.stdin.buffer.read)
        if options.messages is None
        else given_chat(options.messages, options.row, options.column)
    )
    student, teacher = load_tokenizer(options.student), load_tokenizer(options.teacher)
    selection = ALIGNMENTS[options.alignment]()
    if isinstance(given, GivenText):
        title = given.title
        aligned = align_text(
            given.text, student=student, teacher=teacher, alignment=selection, name=title
        )
    else:
        title = given.name
        aligned = align_messages(
            given,
            student=student,
            teacher=teacher,
            alignment=selection,
            trained=options.trained,
            system=options.system,
            student_template=options.student_template,
            teacher_template=options.teacher_template,
        )
    most = max(options.max_chunks, options.max_page_chunks if options.html else 0)
    report = report_of(
        aligned,
        student=student,
        teacher=teacher,
        title=title,
        alignment=options.alignment,
        most=most,
    )
    if options.html is not None:
        # "x": a file that came into being meanwhile is not overwritten either
        with open(options.html, "w" if options.overwrite else "x", encoding="utf-8") as opened:
            opened.write(html_page(report, most=options.max_page_chunks))
    # the page comes first: `| head` ends a command that still has lines to print
    console = Console(highlight=False)
    draw(report, console, most=options.max_chunks)
    if options.html is not None:
        console.print(f"page: {options.html}", markup=False, soft_wrap=True)


def _check_output(options: argparse.Namespace) -> None:
    path = Path(options.html)
    if path.is_dir():
        raise ValueError(f"--html {options.html} is a folder. Name a file in it.")
    if not path.parent.is_dir():
        raise ValueError(f"--html {options.html}: there is no folder {path.parent}. Make it first.")
    if path.exists() and not options.overwrite:
        raise ValueError(
            f"--html {options.html} exists. Choose another name, or replace it with --overwrite."
        )
    for source in filter(None, (options.text, options.messages)):
        if path.exists() and os.path.isfile(source) and path.samefile(source):
            raise ValueError(f"--html {options.html} is the file to be read. Choose another name.")
