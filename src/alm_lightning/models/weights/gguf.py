"""From a quantised GGUF file to a folder that ``from_pretrained`` loads in a second.

transformers reads GGUF by unpacking every weight, which takes half a minute for a small model, and
rebuilds the tokenizer's merges, which takes as long again. So it is done once and kept in a cache.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from filelock import FileLock
from transformers import AutoModelForCausalLM, GgufConfig

from alm_lightning.tokenization.files.gguf_tokenizer import read_gguf

log = logging.getLogger(__name__)

RECORD_FILE = "converted.json"
HASH_DIGITS_IN_NAME = 12
FORMAT = 2
"""Of converted folders. 2: byte-level tokenizers with their own pre-tokenizer and normaliser."""


def cache_root() -> Path:
    """``$ALM_LIGHTNING_CACHE``, or ``alm_lightning`` in the user's cache folder."""
    # an empty variable counts as unset, as XDG has it
    if root := os.environ.get("ALM_LIGHTNING_CACHE"):
        return Path(root).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "alm_lightning"


def converted_folder(name: str, sha256: str) -> Path:
    """The folder of a converted model, which exists whole or not at all."""
    return cache_root() / "models" / f"{name}-{sha256[:HASH_DIGITS_IN_NAME]}-f{FORMAT}"


def convert_once(parts: Sequence[Path], *, name: str, sha256: str) -> Path:
    """The folder of a converted GGUF file, made if it is not there, verified if it is.

    Safe with several processes: one converts, the others wait for it.
    """
    folder = converted_folder(name, sha256)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if folder.is_dir():
            verify(folder)
            return folder
        _require_readers()
        # beside the target, for a rename is atomic within a file system only
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as work:
            joined, whole = Path(work, "model.gguf"), Path(work, "whole")
            _join(parts, joined, sha256)
            log.info("Converting %s from GGUF, once; this takes about a minute", name)
            start = time.perf_counter()
            _convert(joined, whole, sha256)
            log.info("Converted in %.0f s, kept in %s", time.perf_counter() - start, folder)
            whole.rename(folder)
    return folder


def verify(folder: Path) -> None:
    """Refuses a converted folder with a file that is missing or differs from its SHA-256."""
    advice = f"Remove the folder {folder} and run again: it will be converted again."
    try:
        recorded = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))["files"]
        found = {name: sha256_of(folder / name) for name in recorded}
    except FileNotFoundError as error:
        raise ValueError(f"Converted model: {error.filename} is missing. {advice}") from error
    for name, expected in recorded.items():
        if found[name] != expected:
            raise ValueError(
                f"Converted model: {folder / name} has SHA-256 {found[name]}, expected {expected}; "
                f"it was changed or damaged after it was written. {advice}"
            )


def _require_readers() -> None:
    missing = [name for name in ("accelerate", "gguf") if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"Reading GGUF files needs {' and '.join(missing)}, which this Python does not have. "
            "Install with: pip install 'alm-lightning[gguf]'"
        )


def _join(parts: Sequence[Path], target: Path, sha256: str) -> None:
    with target.open("wb") as joined:
        for part in parts:
            with part.open("rb") as opened:
                shutil.copyfileobj(opened, joined)
    found = sha256_of(target)
    if found != sha256:
        listed = ", ".join(str(part) for part in parts)
        raise ValueError(
            f"The GGUF file made of {listed} has SHA-256 {found}, expected {sha256}. Reinstall the "
            "packages in the version that the configuration names, or correct its sha256 and parts."
        )


def _convert(gguf_file: Path, target: Path, sha256: str) -> None:
    tokenizer = read_gguf(gguf_file)
    model = AutoModelForCausalLM.from_pretrained(
        gguf_file.parent,
        gguf_file=gguf_file.name,
        dtype=torch.bfloat16,
        # left to itself, transformers keeps weights packed where it can, and marks the model as
        # quantised where it cannot; either way save_pretrained would refuse
        quantization_config=GgufConfig(dequantize=True),
    )
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    record = {
        "source_sha256": sha256,
        "versions": {name: importlib.metadata.version(name) for name in ("transformers", "gguf")},
        "files": {file.name: sha256_of(file) for file in sorted(target.iterdir())},
    }
    (target / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
