"""Fast tokenizers of folders and of the hub, as their tokenizer.json has them."""

import logging
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerFast

log = logging.getLogger(__name__)

KINDS = (
    "'bytes', a folder with a tokenizer.json, a tokenizer.json, a tiktoken rank file, a "
    "tekken.json, a SentencePiece model, a GGUF file, or a hub id that can be reached from here"
)
"""What a tokenizer can be loaded from, for messages."""
OTHER_FILES = ("tekken.json", "tokenizer.model", "*.tiktoken", "*.gguf")
"""Files of a folder that are to be given themselves."""


def load_fast(place: str, *, revision: str | None = None) -> PreTrainedTokenizerFast:
    """The fast tokenizer of a folder or a hub id.

    A tokenizer.json is taken as it is. `AutoTokenizer` is not asked where there is one: by the name
    of a class or of a model's type it puts other cuts and normalisers in (transformers 5.24 gives
    Qwen's to DeepSeek's distilled Qwen), and the ids are silently wrong. A ValueError if there is
    no tokenizer, or it is slow-only.
    """
    folder = Path(place)
    if folder.is_dir():
        if (folder / "tokenizer.json").is_file():
            return _as_it_is(place, revision)
        _refuse_other_files(folder)
    else:
        try:
            return _from_hub_or_folder(place, revision)
        except (OSError, ValueError) as error:
            # AutoTokenizer makes one of older files, or says in better words what is wrong
            log.info("%s has no tokenizer.json (%s): trying its other files", place, error)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, revision=revision, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ValueError(f"no tokenizer at {place!r}: expected {KINDS} ({error}).") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ValueError(
            f"tokenizer {place!r} is a {type(tokenizer).__name__}, which has no fast version: "
            "its tokenization can't be followed byte by byte. Convert it to a tokenizer.json first."
        )
    return tokenizer


def _as_it_is(place: str, revision: str | None) -> PreTrainedTokenizerFast:
    try:
        return _from_hub_or_folder(place, revision)
    except Exception as error:  # of a damaged file the library raises nothing narrower
        raise ValueError(
            f"the tokenizer.json in {place!r} can't be read: {error}. Fetch it again, or update "
            "tokenizers if it was written by a newer one."
        ) from error


def _from_hub_or_folder(place: str, revision: str | None) -> PreTrainedTokenizerFast:
    loaded: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(
        place, revision=revision or "main"
    )
    return loaded


def _refuse_other_files(folder: Path) -> None:
    others = sorted(str(file) for pattern in OTHER_FILES for file in folder.glob(pattern))
    if others:
        raise ValueError(
            f"the folder {str(folder)!r} has no tokenizer.json. Give the tokenizer file itself: "
            f"{' or '.join(others)}."
        )
    # of a config.json alone transformers makes a tokenizer without a vocabulary
    names = {file.name for file in folder.iterdir()}
    if not names & {"vocab.json", "vocab.txt", "spiece.model", "tokenizer_config.json"}:
        raise ValueError(
            f"no tokenizer in the folder {str(folder)!r}, which has {_shown(sorted(names))}: "
            f"expected {KINDS}."
        )


def _shown(names: list[str], limit: int = 8) -> str:
    if not names:
        return "no file"
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if names[limit:] else "")
