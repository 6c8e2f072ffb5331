"""The files that a path of the configuration stands for: one, a folder, a pattern, or a list."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from alm_lightning.corpus.document import CorpusError
from alm_lightning.corpus.sources.compression import COMPRESSIONS

Paths: TypeAlias = str | int | Sequence[str | int]
"""Of a corpus, one or several. A folder may be named for a year, which Hydra reads as a number."""
SHOWN = 5
"""Names that an error shows of a folder."""


def corpus_files(path: Paths, *, suffixes: Sequence[str] | None = None) -> dict[str, Path]:
    """The files of a corpus, by the names that messages call them.

    Args:
        path: A file; a folder, for all files in it and below that are not hidden; a pattern with
            ``*``, ``?``, ``[...]`` or ``**``; or a list of any of these. ``~`` is spelled out.
        suffixes: What the names of a folder's files end in, such as ``.jsonl``, with the suffix of
            a compression after it or not; None for any. A file or pattern is taken at its word.

    Returns:
        Files by name, each once: those of a folder or a pattern in the order of their paths. One
        file is called by its own name, several by their paths from the folder that holds them all.

    Raises:
        CorpusError: A path stands for no file.
    """
    paths = list(path) if is_list(path) else [path]
    if not paths:
        raise CorpusError("The corpus is an empty list of files. Give at least one path.")
    files = [file for each in paths for file in _files_at(str(each), suffixes)]
    unique = {Path(os.path.abspath(file)): file for file in files}
    if len(unique) == 1:
        (file,) = unique.values()
        return {file.name: file}
    folder = os.path.commonpath([file.parent for file in unique])
    return {place.relative_to(folder).as_posix(): file for place, file in unique.items()}


def shown_path(path: Paths) -> str:
    """A path of the configuration as a message shows it.

    Args:
        path: A path, or a list of them.

    Returns:
        The path; of a list, all of them.
    """
    return ", ".join(map(str, path)) if is_list(path) else str(path)


def is_list(path: object) -> bool:
    """Whether a path of the configuration is several."""
    return isinstance(path, Sequence) and not isinstance(path, str)


def _files_at(path: str, suffixes: Sequence[str] | None) -> list[Path]:
    place = Path(path).expanduser()
    # a name that exists is meant, whatever characters are in it
    if place.is_file():
        return [place]
    if place.is_dir():
        return _files_in(place, path, suffixes)
    if not glob.has_magic(path):
        raise CorpusError(
            f"There is no file at '{path}' (nothing stands there; looked for {place.absolute()}). "
            "Give the path of a file, of a folder, or a pattern such as 'data/*.txt'; a relative "
            "one counts from the folder that the program was started in."
        )
    found = [Path(match) for match in sorted(glob.glob(str(place), recursive=True))]
    files = [match for match in found if match.is_file()]
    if not files:
        others = f" ({len(found)} folders do)" if found else ""
        raise CorpusError(
            f"No file matches the pattern '{path}'{others}; looked from {Path.cwd()}. Correct it, "
            "or put it in quotes, so that the shell hands it on: 'corpus.source.path=data/*.txt'. "
            "In a pattern, ** stands for any number of folders."
        )
    return files


def _files_in(folder: Path, path: str, suffixes: Sequence[str] | None) -> list[Path]:
    every = sorted(
        file
        for file in folder.rglob("*")
        if file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )
    files = [file for file in every if suffixes is None or ends_in(file.name, suffixes)]
    if not files:
        names = ", ".join(file.relative_to(folder).as_posix() for file in every[:SHOWN])
        more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
        expected = "a file" if suffixes is None else f"files that end in {' or '.join(suffixes)}"
        raise CorpusError(
            f"The folder '{path}' ({folder.absolute()}) holds {names + more or 'no files'}; "
            f"expected {expected}. Give a pattern that names the files, such as "
            f"'{Path(path) / '*'}'."
        )
    return files


def ends_in(name: str, suffixes: Sequence[str]) -> bool:
    """Whether a file is of a kind, by its name.

    Args:
        name: Of the file.
        suffixes: What the names of the kind end in, in lower case.

    Returns:
        True if it ends in one of them, or in one of them and the suffix of a compression.

    Example:
        >>> ends_in("A.JSONL.ZST", (".jsonl",)), ends_in("a.zst", (".jsonl",))
        (True, False)
    """
    name = name.lower()
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression.suffix)
    return name.endswith(tuple(suffixes))
