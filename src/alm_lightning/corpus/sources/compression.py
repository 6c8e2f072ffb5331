"""Files that may be compressed: gzip, zstd, bzip2 or xz, recognised by their first bytes.

fsspec's ``compression="infer"`` goes by the name alone: it would read a compressed file of another
name as text.
"""

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
"""Length of the longest magic number."""


def _zstd(path: Path) -> io.BufferedIOBase:
    # the standard library has zstd only since Python 3.14
    stream = pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd")
    return io.BufferedReader(stream, BUFFER_BYTES)


@dataclass(frozen=True)
class Compression:
    """A format of compressed files.

    Attributes:
        suffix: The suffix of their names.
        magic: Their first bytes, which hardly any text starts with.
        opener: Opens a file for reading.
    """

    suffix: str
    magic: re.Pattern[bytes]
    opener: Callable[[Path], io.BufferedIOBase]


COMPRESSIONS = (
    Compression(".gz", re.compile(rb"\x1f\x8b"), gzip.open),
    # a frame, or a skippable frame, which pzstd writes first
    Compression(".zst", re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), _zstd),
    Compression(".bz2", re.compile(rb"BZh"), bz2.open),
    Compression(".xz", re.compile(rb"\xfd7zXZ\x00"), lzma.open),
)
# OSError is raised by zstd and bzip2
DAMAGES = (EOFError, OSError, zlib.error, lzma.LZMAError)


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedIOBase]:
    """A file, opened for reading bytes, and decompressed if it is compressed.

    Compressed data that are damaged are a CorpusError.
    """
    compression = compression_of(path)
    if compression is None:
        with path.open("rb") as stream:
            yield stream
        return
    try:
        with compression.opener(path) as stream:
            yield stream
    except DAMAGES as error:
        raise CorpusError(
            f"{path}: the compressed data are damaged or cut off ({error}). Fetch it again."
        ) from error


def compression_of(path: Path) -> Compression | None:
    """The format of a compressed file, by its first bytes; None for a plain file.

    A plain file whose name has the suffix of a compression is a CorpusError.
    """
    with path.open("rb") as stream:
        start = stream.read(MAGIC_BYTES)
    for compression in COMPRESSIONS:
        is_named = path.suffix.lower() == compression.suffix
        # "BZh" may begin a text
        if compression.magic.match(start) and (is_named or compression.suffix != ".bz2"):
            return compression
        if is_named:
            raise CorpusError(
                f"{path} is called {compression.suffix}, but starts with {start!r}. Some programs "
                "unpack a file and keep its name: take the suffix off. Or fetch it again."
            )
    return None
