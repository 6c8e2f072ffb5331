"""The files of a corpus: of one path, a folder, a pattern, or a list of these.

`data_files` of `datasets` takes such paths too, but ``part[1].txt`` only as a pattern, and its
errors do not say what a folder holds.
"""

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from alm_lightning.corpus.document import CorpusError, printable
from alm_lightning.corpus.sources.compression import COMPRESSIONS

Paths: TypeAlias = str | int | Sequence[str | int]
"""One path or several. A number is the name of a folder, such as a year, as Hydra reads it."""
SHOWN = 5
"""Number of names that an error shows of a folder."""


def corpus_files(path: Paths, *, suffixes: Sequence[str] | None = None) -> dict[str, Path]:
    """The files of a corpus, by their names in messages.

    Args:
        path: A file; a folder, for its `files_below`; a pattern with ``*``, ``?``, ``[...]`` or
            ``**``; or a list of any of these. ``~`` is expanded.
        suffixes: Suffixes of the files that are taken of a folder, such as ``.jsonl``, with or
            without the suffix of a compression after it; None for all. They do not apply to a file
            or a pattern.

    Returns:
        Files by name, each once: those of a folder or a pattern in the order of their paths. The
        name of a single file is its own, of several their path from the folder that holds all.

    Raises:
        CorpusError: There is no file at a path.
    """
    paths = _listed(path)
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
    """The paths of a corpus, for a message."""
    return ", ".join(map(str, _listed(path)))


def _listed(path: Paths) -> list[str | int]:
    return [path] if isinstance(path, (str, int)) else list(path)


def _files_at(path: str, suffixes: Sequence[str] | None) -> list[Path]:
    place = Path(path).expanduser()
    # a name that exists is that file, even if it looks like a pattern
    if place.is_file():
        return [place]
    if place.is_dir():
        return _files_in(place, path, suffixes)
    if not glob.has_magic(path):
        raise CorpusError(
            f"There is no file at '{path}' (looked for {place.absolute()}). Give the path of a "
            "file, of a folder, or a pattern such as 'data/*.txt'; a relative path starts at the "
            "folder that the program was started in."
        )
    found = [Path(match) for match in sorted(glob.glob(str(place), recursive=True))]
    files = [match for match in found if match.is_file()]
    if not files:
        others = f" ({len(found)} folders do)" if found else ""
        raise CorpusError(
            f"No file matches the pattern '{path}'{others}; looked from {Path.cwd()}. Correct "
            "path; in a shell, put it in quotes, such as 'corpus.source.path=data/*.txt', or the "
            "shell changes it. In a pattern, ** matches any number of folders."
        )
    return files


def _files_in(folder: Path, path: str, suffixes: Sequence[str] | None) -> list[Path]:
    every = files_below(folder)
    files = [file for file in every if suffixes is None or ends_in(file.name, suffixes)]
    if not files:
        shown = [printable(file.relative_to(folder).as_posix()) for file in every[:SHOWN]]
        names = ", ".join(shown)
        more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
        expected = "a file" if suffixes is None else f"files that end in {' or '.join(suffixes)}"
        raise CorpusError(
            f"The folder '{path}' ({folder.absolute()}) holds {names + more or 'no files'}; "
            f"expected {expected}. Give a pattern that names the files, such as "
            f"'{Path(path) / '*'}'."
        )
    return files


def files_below(folder: Path) -> list[Path]:
    """The files in a folder and below that are not hidden, in the order of their paths.

    Links to folders are followed. A folder that several paths lead to is read once, and so is one
    that a link below leads back to.
    """
    found: list[Path] = []
    read: set[str] = set()
    starts = [folder]
    while starts:
        # what is reached without a link comes first, and keeps its path
        for place, folders, names in os.walk(starts.pop(0)):
            real = os.path.realpath(place)
            folders[:] = [] if real in read else sorted(n for n in folders if n[0] != ".")
            if real in read:
                continue
            read.add(real)
            links = [Path(place, name) for name in folders if os.path.islink(Path(place, name))]
            starts += links
            files = [Path(place, name) for name in names if name[0] != "."]
            found += [file for file in files if file.is_file()]
    return sorted(found)


def ends_in(name: str, suffixes: Sequence[str]) -> bool:
    """Whether a file's name ends in one of the suffixes, before that of a compression or not."""
    name = name.lower()
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression.suffix)
    return name.endswith(tuple(suffixes))
