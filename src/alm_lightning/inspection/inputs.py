"""What is to be looked at: a text, given as such, in a file or through a pipe; a row of chats."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from alm_lightning.corpus.chat import Chat
from alm_lightning.corpus.document import CorpusError, decode, printable, shortened
from alm_lightning.corpus.sources.compression import opened

STDIN = "-"
TITLE_LENGTH = 60
"""Characters of a text that stand for its name."""


@dataclass(frozen=True)
class GivenText:
    """A text to look at.

    Attributes:
        text: The text.
        title: What it is called.
    """

    text: str
    title: str


def given_text(argument: str, read_stdin: Callable[[], bytes]) -> GivenText:
    """The text that an argument stands for.

    Args:
        argument: ``-`` for what comes through a pipe, the path of a file, or else the text itself.
        read_stdin: What reads a pipe to its end.

    Returns:
        The text; line ends stay as they are.

    Raises:
        CorpusError: A file that is not UTF-8.
    """
    if argument == STDIN:
        return GivenText(decode(read_stdin(), "standard input"), "standard input")
    # not Path.is_file, which fails for a text that is too long for a path
    if os.path.isfile(argument):
        with opened(Path(argument)) as stream:
            return GivenText(decode(stream.read(), argument), printable(argument))
    title = " ".join(argument.split())
    if len(title) > TITLE_LENGTH:
        title = title[: TITLE_LENGTH - 1] + "…"
    return GivenText(argument, f"“{printable(title)}”")


def given_chat(path: str, row: int, column: str) -> Chat:
    """The chat in a line (from 1) of a file; a line that is a list holds its messages itself."""
    if row < 1:
        raise CorpusError(f"--row is {row}; rows are counted from 1.")
    if not os.path.isfile(path):
        raise CorpusError(f"--messages {path!r}: there is no such file. Give a .jsonl file.")
    name = f"{printable(path)}:{row}"
    value = _json(_line(path, row), name)
    if isinstance(value, dict):
        if column not in value:
            raise CorpusError(
                f"{name}: there is no column {column!r}. Choose one of those that exist with "
                f"--column: {', '.join(sorted(value)) or '(none)'}."
            )
        value = value[column]
    return Chat.of(value, name)


def _line(path: str, row: int) -> bytes:
    with opened(Path(path)) as lines:
        line = next(islice(lines, row - 1, None), None)
        if line is not None:
            return line
    with opened(Path(path)) as lines:
        count = sum(1 for _ in lines)
    raise CorpusError(f"--row is {row}, but {path} has {count:,} lines.")


def _json(line: bytes, name: str) -> object:
    text = decode(line, name)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise CorpusError(
            f"{name}: not JSON: {error.msg} at character {error.pos}, in {shortened(text)}. "
            "Expected one whole JSON object a line."
        ) from error
