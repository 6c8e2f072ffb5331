"""What an engine sees of a model's vocabulary: tokens in their order, roles, rows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig, GenerationConfig

from alm_lightning.models.bytes.byte_config import ByteLMConfig
from alm_lightning.models.weights.sources import CONFIG_FILE, Folder
from alm_lightning.tokenization.files.gguf_metadata import read_metadata, read_shapes
from alm_lightning.tokenization.files.pretrained import load_fast

EMBEDDINGS = "token_embd.weight"
PREFIX = "tokenizer.ggml."
KEYS = {"bos": "bos_token_id", "eos": "eos_token_id", "pad": "padding_token_id"}
"""Of the roles that a tokenizer of transformers has too."""
STOPS = ("eos_token_id", "eot_token_id", "eom_token_id")
BPE = "gpt2"
KINDS = {"gemma4": BPE}
"""Names of tokenizers that llama.cpp takes for another one's kind."""
# where a file does not say: `llama_vocab::impl::load` of llama.cpp, src/llama-vocab.cpp
DEFAULT_IDS = {"llama": {"bos": 1, "eos": 2}, BPE: {"bos": 11, "eos": 11}}
ADDING_BOS = {"llama", "bert"}
ADDING_EOS = {"t5"}
CUTS_ADDING_BOS = {
    *("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"),
    *("jina-v5-nano", "tekken", "chameleon"),
}
"""Of byte-level BPE: values of ``tokenizer.ggml.pre``."""


@dataclass(frozen=True)
class EngineVocabulary:
    """The vocabulary of a model, as an engine of speculative decoding compares it.

    Attributes:
        tokens: Their texts by id, those of padding included.
        rows: Of the embedding matrix.
        roles: Ids of bos, eos and pad, where one is said.
        stop_ids: Where generation stops: end of text, of a turn, of a message.
        adds_bos: Whether texts start with bos.
        adds_eos: Whether texts end with eos.
        kind: What llama.cpp calls the type of the vocabulary; None of a folder, for which its
            converter chooses one.
    """

    tokens: Sequence[str]
    rows: int
    roles: Mapping[str, int]
    stop_ids: frozenset[int]
    adds_bos: bool
    adds_eos: bool
    kind: str | None

    def added(self, role: str) -> int | None:
        """The id of a role as llama.cpp has it: with its default, where none is said."""
        return self.roles.get(role, DEFAULT_IDS.get(self.kind or "", {}).get(role))


def read_vocabulary(path: Path) -> EngineVocabulary:
    """The vocabulary of a GGUF file or of a folder.

    Args:
        path: A GGUF file, a run's folder or a model's.

    Returns:
        The vocabulary.

    Raises:
        ValueError: The file is damaged, or no language model.
        FileNotFoundError: There is no model at `path`.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"There is no {path}: expected a GGUF file, a run's folder, or a model's."
        )
    return of_gguf(path) if path.is_file() else of_folder(model_folder(path))


def model_folder(path: Path) -> Path:
    """The folder of a model that llama.cpp may convert.

    Args:
        path: A run's folder, or a model's.

    Returns:
        The model's folder.

    Raises:
        FileNotFoundError: There is no model at `path`.
        ValueError: It is a model over bytes.
    """
    if not path.is_dir():
        raise FileNotFoundError(
            f"There is no folder {path}: expected a run's folder, or a model's."
        )
    inner = path / "model"
    folder = inner if (inner / CONFIG_FILE).is_file() else path
    if reason := Folder(path=str(folder)).available():
        raise FileNotFoundError(f"Neither a run with a folder model/ nor a model: {reason}.")
    config = _read_object(folder / CONFIG_FILE)
    if config.get("model_type") == ByteLMConfig.model_type:
        raise ValueError(
            f"{folder} is a student over bytes: llama.cpp knows no such model, and none of its "
            "files can hold one. Load it with transformers (trust_remote_code=True), or distil a "
            "student with a subword tokenizer (docs/guides/subword_tokenizer.md)."
        )
    return folder


def of_folder(folder: Path) -> EngineVocabulary:
    """The vocabulary of a folder that `save_pretrained` or an export wrote.

    Args:
        folder: With config.json and tokenizer.json.

    Returns:
        The vocabulary; rows without a token have the name that llama.cpp's converter gives them.
    """
    tokenizer = load_fast(str(folder))
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False).get_text_config()
    except Exception as error:  # of a class of its own for each kind of value that is wrong
        raise ValueError(f"{folder / CONFIG_FILE} can't be read: {error}") from error
    by_id = {index: token for token, index in tokenizer.get_vocab().items()}
    size = max(config.vocab_size, max(by_id, default=-1) + 1)
    ids = {role: getattr(tokenizer, f"{role}_token_id") for role in KEYS}
    # as the converter does
    more = {role: getattr(config, f"{role}_token_id") for role in KEYS if ids[role] is None}
    ids |= {role: index for role, index in more.items() if isinstance(index, int)}
    stops = {ids["eos"]}
    if (generation := folder / "generation_config.json").is_file():
        _read_object(generation)
        said = GenerationConfig.from_pretrained(folder).eos_token_id
        stops |= set(said) if isinstance(said, list) else {said}
    text = tokenizer("a")["input_ids"]
    return EngineVocabulary(
        tokens=[by_id.get(index, f"[PAD{index}]") for index in range(size)],
        rows=config.vocab_size,
        roles={role: index for role, index in ids.items() if index is not None},
        stop_ids=frozenset(stops - {None}),
        adds_bos=text[:1] == [ids["bos"]],
        adds_eos=text[-1:] == [ids["eos"]],
        kind=None,
    )


def of_gguf(path: Path) -> EngineVocabulary:
    """The vocabulary of a GGUF file, with llama.cpp's defaults for what it does not say.

    Args:
        path: The file; of a model in several files the first one.

    Returns:
        The vocabulary.

    Raises:
        ValueError: The file is damaged, or holds no tokens or no embeddings.
    """
    found = {
        key.removeprefix(PREFIX): value
        for key, value in read_metadata(path, lambda key: key.startswith(PREFIX)).items()
    }
    shapes = read_shapes(path)
    if "tokens" not in found or EMBEDDINGS not in shapes:
        raise ValueError(
            f"{path} lacks {PREFIX}tokens or {EMBEDDINGS}: expected the GGUF of a language model, "
            "the first file of one in several."
        )
    kind = str(found.get("model"))
    kind = KINDS.get(kind, kind)
    adds_bos = kind in ADDING_BOS or (kind == BPE and found.get("pre") in CUTS_ADDING_BOS)
    return EngineVocabulary(
        tokens=found["tokens"],
        rows=shapes[EMBEDDINGS][0],
        roles={role: int(found[key]) for role, key in KEYS.items() if key in found},
        stop_ids=frozenset(int(found[key]) for key in STOPS if key in found),
        adds_bos=bool(found.get("add_bos_token", adds_bos)),
        adds_eos=bool(found.get("add_eos_token", kind in ADDING_EOS)),
        kind=kind,
    )


def _read_object(path: Path) -> dict[str, Any]:
    """What a JSON file holds; a ValueError that names it if that is no object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds a {type(found).__name__}: expected an object, {{...}}.")
    return found
