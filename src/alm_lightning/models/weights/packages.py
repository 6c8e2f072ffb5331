"""Weights that travel as a GGUF file inside installed Python packages."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from alm_lightning.models.weights import gguf
from alm_lightning.models.weights.sources import Location


class PackagedGGUF:
    """A GGUF file inside Python packages, whole or in parts, converted once and then cached.

    The packages are read as files, never imported: none of their code runs. What is trusted is
    the SHA-256 of the joined parts.

    Args:
        name: What the model is called; names its folder in the cache and nothing else.
        parts: Files in the order in which they make up the GGUF, each ``package/path/in/it``.
        sha256: Of the whole GGUF file, in hexadecimal.
        install: The command that gets the packages, for messages.
    """

    def __init__(self, *, name: str, parts: Sequence[str], sha256: str, install: str) -> None:
        if not parts:
            raise ValueError(f"PackagedGGUF '{name}' needs at least one part, and was given none.")
        self.name = name
        self.parts = tuple(parts)
        self.sha256 = sha256.lower()
        self.install = install

    def available(self) -> str | None:
        """Available if it was converted before, or if every part is there."""
        if gguf.converted_folder(self.name, self.sha256).is_dir():
            return None
        for part in self.parts:
            if not (path := _find(part)):
                package = part.partition("/")[0]
                return f"the Python package {package} is not installed: `{self.install}`"
            if not path.is_file():
                return f"the file {part} is missing from its package: `{self.install}`"
        return None

    def resolve(self) -> Location:
        """The converted model; the first call takes about a minute.

        A FileNotFoundError says which package or file is missing.
        """
        if reason := self.available():
            raise FileNotFoundError(f"No weights of {self.name}: {reason}.")
        folder = gguf.converted_folder(self.name, self.sha256)
        if folder.is_dir():
            gguf.verify(folder)
        else:
            paths = [path for part in self.parts if (path := _find(part))]
            gguf.convert_once(paths, name=self.name, sha256=self.sha256)
        return Location(str(folder))

    def describe(self) -> str:
        """The name, the first package and the hash."""
        package = self.parts[0].partition("/")[0]
        return f"{self.name}, GGUF in the Python package {package} (SHA-256 {self.sha256[:12]})"


def _find(part: str) -> Path | None:
    package, _, file = part.partition("/")
    # importlib.resources would import the package; the finder of a top-level name does not
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)), file)
