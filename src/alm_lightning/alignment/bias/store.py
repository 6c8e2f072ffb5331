"""Files of bias statistics: what they are called, and that they are whole or not there at all."""

import os
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from alm_lightning.corpus.document import Document
from alm_lightning.tokenization.view import TokenizerView

VERSION = 1
"""Of the algorithm: counted up when the same corpus would give other numbers."""

Arrays = Mapping[str, Shaped[np.ndarray, "..."]]
"""What a file holds, by name."""

DIGEST = "digest"
HASH_BYTES = 16


def bias_key(
    documents: Iterable[Document], *, student: TokenizerView, teacher: TokenizerView
) -> str:
    """A hexadecimal hash of everything that changes the statistics.

    Of documents the texts count, in their order, and not their names.
    """
    origin = f"{VERSION} {student.fingerprint} {teacher.fingerprint}"
    digest = blake2b(origin.encode(), digest_size=HASH_BYTES)
    for document in documents:
        content = document.text.encode("utf-8")
        # the length first: two documents are not the same as one of both their texts
        digest.update(b"%d:" % len(content))
        digest.update(content)
    return digest.hexdigest()


def save_arrays(file: Path, arrays: Arrays) -> None:
    """Writes a file, in a folder that exists, that is there whole or not at all."""
    digest = np.array(_digest(arrays))
    # beside the target, for a rename is atomic within a file system only
    with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False) as part:
        try:
            np.savez_compressed(part, allow_pickle=False, **arrays, **{DIGEST: digest})
            part.flush()
            os.fsync(part.fileno())
            os.replace(part.name, file)
        except BaseException:
            Path(part.name).unlink()
            raise


def load_arrays(file: Path) -> Arrays:
    """Reads what `save_arrays` wrote; a ValueError if the content is not what was written."""
    advice = f"Remove {file} and run again: it will be computed again."
    try:
        # opened here: where the content is no archive, np.load would leave the file open
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise ValueError(f"bias statistics: {file} can't be read ({error}). {advice}") from error
    expected = str(arrays.pop(DIGEST, ""))
    if _digest(arrays) != expected:
        raise ValueError(
            f"bias statistics: {file} was changed after it was written: its content has the hash "
            f"{_digest(arrays)}, expected {expected or 'none'}. {advice}"
        )
    return arrays


def _digest(arrays: Arrays) -> str:
    digest = blake2b(digest_size=HASH_BYTES)
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
