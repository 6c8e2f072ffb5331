"""Files that may be compressed: gzip, zstd, bzip2 or xz, told by their first bytes."""

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow

from alm_lightning.corpus.document import CorpusError

BUFFER_BYTES = 1 << 20
MAGIC_BYTES = 6
"""The longest start that tells a format."""


def _zstd(path: Path) -> io.BufferedIOBase:
    # Python has had zstd of its own since 3.14 alone
    stream = pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd")
    return io.BufferedReader(stream, BUFFER_BYTES)


@dataclass(frozen=True)
class Compression:
    """A format of compressed files.

    Attributes:
        suffix: What their names end in.
        magic: What they begin with, which is not likely as the start of a text.
        opener: Opens one for reading.
    """

    suffix: str
    magic: re.Pattern[bytes]
    opener: Callable[[Path], io.BufferedIOBase]


COMPRESSIONS = (
    Compression(".gz", re.compile(rb"\x1f\x8b"), gzip.open),
    # a frame, or one to skip, which pzstd writes first
    Compression(".zst", re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), _zstd),
    Compression(".bz2", re.compile(rb"BZh"), bz2.open),
    Compression(".xz", re.compile(rb"\xfd7zXZ\x00"), lzma.open),
)
# OSError: of zstd and bzip2
DAMAGES = (EOFError, OSError, zlib.error, lzma.LZMAError)


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedIOBase]:
    """A file, opened for reading bytes; decompressed where it is compressed.

    Args:
        path: The file.

    Yields:
        Its content as a stream.

    Raises:
        CorpusError: The compressed data are damaged.
    """
    compression = compression_of(path)
    if compression is None:
        with path.open("rb") as stream:
            yield stream
        return
    try:
        with compression.opener(path) as stream:
            yield stream
    except CorpusError:
        raise
    except DAMAGES as error:
        raise _damaged(path, error) from error


def compression_of(path: Path) -> Compression | None:
    """How a file is compressed.

    Args:
        path: The file.

    Returns:
        The format that its first bytes tell; None for a plain file.

    Raises:
        CorpusError: Its name says that it is compressed, and it is not.
    """
    with path.open("rb") as stream:
        start = stream.read(MAGIC_BYTES)
    for compression in COMPRESSIONS:
        is_named = path.suffix.lower() == compression.suffix
        # "BZh" may begin a text; the others are no text
        if compression.magic.match(start) and (is_named or compression.suffix != ".bz2"):
            return compression
        if is_named:
            raise CorpusError(
                f"{path} is called {compression.suffix}, but starts with {start!r}. Some programs "
                "unpack a file and keep its name: take the suffix off. Or fetch it again."
            )
    return None


def _damaged(path: Path, why: object) -> CorpusError:
    return CorpusError(
        f"{path}: the compressed data are damaged or cut off ({why}). Fetch it again."
    )
