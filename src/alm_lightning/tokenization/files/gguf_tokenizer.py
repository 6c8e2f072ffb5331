"""The tokenizer within a GGUF file.

transformers reads it too, and well for SentencePiece style (Gemma, Llama 2). Of byte-level BPE it
takes GPT-2's cut for each name of a pre-tokenizer that it does not know (SmolLM's among them), and
leaves the normaliser out (Qwen's NFC): these are put together here.
"""

import logging
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from alm_lightning.tokenization.files.byte_level import byte_level
from alm_lightning.tokenization.files.gguf_metadata import read_metadata
from alm_lightning.tokenization.files.patterns import GGUF_CUTS
from alm_lightning.tokenization.overrides import TokenizerOverrides, apply_overrides, fast_tokenizer

log = logging.getLogger(__name__)

BYTE_LEVEL = "gpt2"
CONTROL, USER_DEFINED, UNUSED = 3, 4, 5
"""Kinds of tokens: special; taken whole wherever they stand; padding of the vocabulary."""
ROLES = {"bos": "bos_token_id", "eos": "eos_token_id", "pad": "padding_token_id"}


def read_gguf(path: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a GGUF file, with its roles and its chat template; no weight is read.

    A ValueError if the file is damaged, holds no tokenizer, or one whose cut of texts is unknown.
    """
    metadata = read_metadata(path, lambda key: key.startswith("tokenizer."))
    model = metadata.get("tokenizer.ggml.model")
    if model is None:
        raise ValueError(
            f"{path} holds no tokenizer: expected the key tokenizer.ggml.model, found "
            f"{', '.join(sorted(metadata)) or 'no key of a tokenizer'}. Give a GGUF of a "
            "language model."
        )
    if model == BYTE_LEVEL:
        return _byte_level(path, metadata)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    except ImportError as error:
        raise ImportError(
            f"Reading the {model!r} tokenizer of {path} needs the gguf package, which this Python "
            "does not have. Install with: pip install 'alm-lightning[gguf]'"
        ) from error
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"transformers can't read the {model!r} tokenizer of {path}: {error}. Load the "
            "tokenizer.json of the model that it was made from instead."
        ) from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ValueError(
            f"transformers makes a {type(tokenizer).__name__} of the {model!r} tokenizer of "
            f"{path}, which has no fast version. Load the tokenizer.json of the model instead."
        )
    return tokenizer


def _byte_level(path: Path, metadata: dict[str, Any]) -> PreTrainedTokenizerFast:
    ggml = {
        key.removeprefix("tokenizer.ggml."): value
        for key, value in metadata.items()
        if key.startswith("tokenizer.ggml.")
    }
    missing = [key for key in ("tokens", "token_type", "merges") if key not in ggml]
    if missing:
        raise ValueError(
            f"{path} holds a byte-level tokenizer without {' and '.join(missing)}: the file is "
            "damaged. Fetch it again."
        )
    cut = GGUF_CUTS.get(str(ggml.get("pre")))
    if cut is None:
        raise ValueError(
            f"{path}: its tokenizer.ggml.pre is {ggml.get('pre')!r}, and how that cuts texts is "
            f"not known here, only {', '.join(GGUF_CUTS)}. Load the tokenizer.json of the "
            "model that it was made from, or add its pattern to GGUF_CUTS, in "
            "tokenization/files/patterns.py."
        )
    kinds = dict(enumerate(ggml["token_type"]))
    tokens = {token: index for index, token in enumerate(ggml["tokens"]) if kinds[index] != UNUSED}
    special_ids = {token: index for token, index in tokens.items() if kinds[index] == CONTROL}
    whole = [token for token, index in tokens.items() if kinds[index] == USER_DEFINED]
    backend = byte_level(
        vocabulary={token: index for token, index in tokens.items() if token not in special_ids},
        merges=_merges(path, ggml["merges"]),
        special_ids=special_ids,
        cut=cut,
        whole_tokens=whole,
    )
    names = {role: _token(ggml, key, special_ids) for role, key in ROLES.items()}
    overrides = TokenizerOverrides(
        **names,
        prepend_bos=bool(ggml.get("add_bos_token")) and names["bos"] is not None,
        chat_template=metadata.get("tokenizer.chat_template"),
    )
    return apply_overrides(fast_tokenizer(backend), overrides, str(path))


def _merges(path: Path, lines: list[str]) -> list[tuple[str, str]]:
    # no letter of the byte alphabet is a space
    merges = [(left, right) for left, _, right in (line.partition(" ") for line in lines)]
    odd = [parts for parts in (tuple(line.split(" ")) for line in lines) if len(parts) != 2]
    if odd:
        raise ValueError(
            f"{path}: a merge of its tokenizer has {len(odd[0])} parts, expected 2: {odd[0]!r}. "
            "The file is damaged: fetch it again."
        )
    return merges


def _token(ggml: dict[str, Any], key: str, special_ids: dict[str, int]) -> str | None:
    """The special token of a role; a role that is given to an ordinary token is left out."""
    index = ggml.get(key)
    for token, special_id in special_ids.items():
        if special_id == index:
            return token
    if index is not None:
        log.warning("The GGUF file's %s is %s, which is no control token: left out", key, index)
    return None
