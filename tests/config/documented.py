"""Commands of documents, comments and docstrings, word by word as a shell would pass them on."""

import ast
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.runs import REPOSITORY

DOCUMENTS = [
    *(REPOSITORY / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted(REPOSITORY.glob("docs/**/*.md")),
]

PYTHON = ("python", "python3")
OTHERS = ("git", "llama-server", "make", "pip", "pre-commit", "pytest", "vllm")
"""Programs besides Python that documents call, and that no test here looks into."""
SHELL, NO_SHELL = "bash", ("python", "text", "yaml")
"""Languages of fenced blocks."""

PLACEHOLDERS = {"member to move": "smollm2_135m", "the other's tokenizer": "gemma3"}
"""What stands for ``<...>`` where it can't be any text."""
STAND_INS = {
    "group=option": "corpus=python_source",
    "key=value": "seed=1",
    "experiment=...": "experiment=gemma_to_smollm2_tokenizer",
    "objective=...": "objective=alm",
    "student=...": "student=smollm2_135m",
    "harness=...": "harness=bits_per_byte",
    "harness=NAME": "harness=bits_per_byte",
    "model.members=[...]": "model.members=[a,b]",
}
"""Something valid for words that stand for any."""

CALL = re.compile(r"(?:.*[|&;] *)?python3? ")
"""The front of a line, or of inline code, that is a command."""
FOLLOWS = "... "
"""The front of inline code that goes on with the command before it."""
REMARK = re.compile(r" {3,}")
"""What parts a command in a comment from a remark on it."""
FENCED = re.compile(r"^```(?P<language>.*)\n(?P<block>(?:.*\n)*?)```$", re.MULTILINE)
INLINE = re.compile(r"(?<!`)(?P<ticks>``?)(?P<span>[^`]+)(?P=ticks)(?!`)")

TOKEN = re.compile(
    r"(?P<space>(?:[ \t]|\\\n)+)|(?P<comment>#[^\n]*)|(?P<end>&&|\|\||[;|\n])"
    r"""|(?P<word>(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s'"\\;|&])+)"""
)
PIECE = re.compile(r"""'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^'"\\]+""")
VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})?")
ASSIGNMENT = re.compile(r"(\w+)=")


class DocumentError(AssertionError):
    """A document says what no reader could run."""


@dataclass(frozen=True)
class Command:
    """A call of Python.

    Attributes:
        place: File and line.
        said: What stands there.
        words: What a shell would pass on, `python` first; of a loop, that of one turn.
        is_inline: Whether it stands in prose, where a program's bare name is no call of it.
    """

    place: str
    said: str
    words: tuple[str, ...]
    is_inline: bool


def read(path: Path) -> str:
    """The text of a document."""
    return path.read_text(encoding="utf-8")


def name_of(path: Path) -> str:
    """A document's path within the repository."""
    return path.relative_to(REPOSITORY).as_posix()


def in_markdown(name: str, text: str) -> list[Command]:
    """Commands of a document: of its shell blocks, and those among its inline code."""
    # blocks become spaces, so that what is left keeps its place
    prose = FENCED.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    pieces = [*FENCED.finditer(text), *INLINE.finditer(prose)]
    found: list[Command] = []
    last: tuple[str, ...] = ()
    for piece in sorted(pieces, key=lambda match: match.start()):
        line = text.count("\n", 0, piece.start()) + 1
        if "block" in piece.groupdict():
            new = []
            if piece["language"] == SHELL:
                new = [*_commands(name, line + 1, piece["block"], is_inline=False)]
            elif piece["language"] not in NO_SHELL:
                known = ", ".join((SHELL, *NO_SHELL))
                raise DocumentError(
                    f"{name}:{line}: a block of {piece['language']!r}: expected one of {known}."
                )
        elif piece["span"].startswith(FOLLOWS):
            if not last:
                raise DocumentError(f"{name}:{line}: {piece[0]} has no command to go on with.")
            whole = shlex.join(last) + piece["span"].removeprefix("...")
            found += [
                replace(command, said=piece["span"])
                for command in _commands(name, line, whole, is_inline=True)
            ]
            # the next such span goes on with the same command
            continue
        else:
            new = [*_inline(name, line, piece["span"])]
        found += new
        last = new[-1].words if new else last
    return found


def in_comments(name: str, text: str) -> list[Command]:
    """Commands in comments and help texts of a YAML file, with or without a remark after them."""
    return [
        command
        for number, line in enumerate(text.splitlines(), start=1)
        if CALL.match(line.lstrip("# "))
        for command in _commands(name, number, REMARK.split(line.lstrip("# "))[0], is_inline=False)
    ]


def in_source(name: str, text: str) -> list[Command]:
    """Commands in texts of a program: lines of those that are shown; inline code of all."""
    tree = ast.parse(text)
    shown = _shown(tree)
    found: list[Command] = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        for match in INLINE.finditer(node.value):
            found += _inline(name, node.lineno, match["span"])
        if node not in shown:
            continue
        for line in node.value.replace("\\\n", " ").splitlines():
            if CALL.match(line.strip()):
                found += _commands(name, node.lineno, line.strip(), is_inline=False)
    return found


def shown_in_source(text: str) -> str:
    """Docstrings and constants of a program, which show commands as a document does."""
    texts = (node.value for node in _shown(ast.parse(text)) if isinstance(node.value, str))
    return "\n".join(texts)


def _shown(tree: ast.Module) -> set[ast.Constant]:
    nodes = [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]
    nodes += [node.value for node in tree.body if isinstance(node, ast.Assign)]
    return {node for node in nodes if isinstance(node, ast.Constant)}


def python_blocks(text: str) -> list[str]:
    """The Python of a document."""
    return [match["block"] for match in FENCED.finditer(text) if match["language"] == "python"]


def _inline(name: str, line: int, span: str) -> Iterator[Command]:
    # in a table a bar is escaped; prose is wrapped
    span = re.sub(r"\s+", " ", span.replace("\\|", "|"))
    if CALL.match(span):
        yield from _commands(name, line, span, is_inline=True)


def _commands(name: str, first_line: int, code: str, *, is_inline: bool) -> Iterator[Command]:
    """Calls of Python in a piece of shell."""
    values: dict[str, list[str]] = {}
    loops: list[str] = []
    for line, words in _statements(name, first_line, code):
        place = f"{name}:{line}"
        words = words[1:] if words[0] == "do" else words
        if not words:
            continue
        if words[0] == "for":
            values[words[1]] = [each for word in words[3:] for each in _expanded(place, word, {})]
            loops.append(words[1])
            continue
        if words[0] == "done":
            del values[loops.pop()]
            continue
        # before a command it is of that command's environment
        while len(words) > 1 and ASSIGNMENT.match(words[0]):
            words = words[1:]
        if assigned := ASSIGNMENT.match(words[0]):
            values[assigned[1]] = ["".join(shlex.split(words[0][assigned.end() :]))]
            continue
        # each value of nested loops once, not each with each
        turns = [
            {key: several[turn % len(several)] for key, several in values.items()}
            for turn in range(max(map(len, values.values()), default=1))
        ]
        every = [
            tuple(each for word in words for each in _expanded(place, word, turn)) for turn in turns
        ]
        for meant in dict.fromkeys(every):
            if meant[0] in PYTHON:
                yield Command(place, " ".join(words), _meant(meant), is_inline)
            elif meant[0] not in OTHERS:
                raise DocumentError(
                    f"{place}: {meant[0]!r} is no command that the tests know. Teach it to "
                    "tests/config/documented.py, or take a block of text."
                )


def _statements(name: str, first_line: int, code: str) -> Iterator[tuple[int, list[str]]]:
    """Simple commands by line, in words that still have their quotes."""
    code = re.sub(r"<[^<>\n]*>", _filled, code)
    # usage: what may be left out is given
    code = re.sub(r"(?<=\s)\[([^\[\]'\"\n]*)\](?=\s|$)", r"\1", code)
    place, start, words = 0, 0, []
    while place < len(code):
        match = TOKEN.match(code, place)
        if match is None:
            raise DocumentError(f"{name}:{first_line}: no shell reads {code[place : place + 40]!r}")
        if match["word"]:
            start = start if words else place
            words.append(match["word"])
        elif match["end"] and words:
            yield first_line + code.count("\n", 0, start), words
            words = []
        place = match.end()
    if words:
        yield first_line + code.count("\n", 0, start), words


def _filled(placeholder: re.Match[str]) -> str:
    inside = placeholder[0][1:-1]
    return PLACEHOLDERS.get(inside, re.sub(r"\W", "_", inside))


def _expanded(place: str, word: str, values: Mapping[str, str]) -> list[str]:
    """What a shell makes of a word: variables replaced, cut at spaces, quotes taken off."""

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in values:
            raise DocumentError(
                f"{place}: {word} has no value: expected {name}=... or `for {name} in ...` before "
                "it, in the same block."
            )
        return values[name]

    pieces = []
    for piece in PIECE.findall(word):
        if piece[0] == '"':
            piece = VARIABLE.sub(lambda m: re.sub(r'(["\\])', r"\\\1", value(m)), piece)
        elif piece[0] not in "'\\":
            piece = VARIABLE.sub(lambda m: shlex.join(value(m).split()), piece)
        pieces.append(piece)
    return shlex.split("".join(pieces))


def _meant(words: Sequence[str]) -> tuple[str, ...]:
    """The words without dots that say "and so on", and with something valid for what is any."""
    return tuple(
        STAND_INS.get(word, word)
        for before, word in zip(["", *words], words, strict=False)
        # after an option they are its value
        if word != "..." or before.startswith("--")
    )
