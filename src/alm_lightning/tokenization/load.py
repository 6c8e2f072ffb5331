"""Tokenizers by name: a folder, a hub id, a tokenizer file of one of five kinds, or ``bytes``."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from alm_lightning.tokenization.bytes.view import byte_view
from alm_lightning.tokenization.fast import view_of
from alm_lightning.tokenization.files.gguf_tokenizer import read_gguf
from alm_lightning.tokenization.files.pretrained import KINDS, load_fast
from alm_lightning.tokenization.files.sentencepiece_model import read_sentencepiece
from alm_lightning.tokenization.files.tiktoken_ranks import (
    RANK_LINE,
    RankOptions,
    read_tekken,
    read_tiktoken,
)
from alm_lightning.tokenization.overrides import TokenizerOverrides, apply_overrides, fast_tokenizer
from alm_lightning.tokenization.view import TokenizerView


def load_tokenizer(
    spec: str | Path,
    *,
    pattern: str | None = None,
    special_tokens: Sequence[str] | Mapping[str, int] = (),
    normalizer: str | None = None,
    bos: str | None = None,
    eos: str | None = None,
    pad: str | None = None,
    prepend_bos: bool | None = None,
    chat_template: str | None = None,
) -> TokenizerView:
    """The project's view of a tokenizer.

    The kind of a file is read from its content, whatever its name.

    Args:
        spec: ``bytes``, a folder that `save_pretrained` wrote, a hub id, or a file: a
            tokenizer.json, a tiktoken rank file, a tekken.json, a SentencePiece model, a GGUF.
        pattern: Of a rank file: how it cuts texts, as a regular expression or as a name in
            `patterns.PATTERNS`, such as ``qwen2``. It is needed there.
        special_tokens: Of a rank file: the names of its special tokens, in the order of their ids
            after the ranks, or names with ids.
        normalizer: Of a rank file: ``NFC``, ``NFKC`` or None.
        bos: The special token that begins a text. None for this and the following: as the
            tokenizer itself says.
        eos: The special token that ends a text.
        pad: The special token that fills rows up.
        prepend_bos: Whether its sequences start with a BOS.
        chat_template: A chat template in Jinja.

    Returns:
        The view.

    Raises:
        ValueError: There is no tokenizer at `spec`, it is damaged, slow-only or of a family that
            is not supported, an option is missing or does not go with its kind.

    Example:
        >>> load_tokenizer("bytes").encode("é").ids
        array([195, 169], dtype=int32)
    """
    options = RankOptions(pattern, special_tokens, normalizer)
    overrides = TokenizerOverrides(bos, eos, pad, prepend_bos, chat_template)
    if str(spec) == "bytes":
        return _bytes(options, overrides)
    path = Path(spec).expanduser()
    if path.is_file():
        tokenizer, own_overrides = _from_file(path, options)
        overrides = overrides.over(own_overrides)
    else:
        _refuse(options, spec)
        tokenizer = load_fast(str(path) if path.exists() else str(spec))
    return view_of(apply_overrides(tokenizer, overrides, str(spec)), name=str(spec))


def _bytes(options: RankOptions, overrides: TokenizerOverrides) -> TokenizerView:
    _refuse(options, "bytes")
    if overrides != TokenizerOverrides():
        raise ValueError(
            "the tokenizer 'bytes' has roles and a start token of its own; make another one with "
            "tokenization.bytes.view.byte_view, which takes the names of its special tokens."
        )
    return byte_view()


def _from_file(
    path: Path, options: RankOptions
) -> tuple[PreTrainedTokenizerFast, TokenizerOverrides]:
    """The tokenizer of a file, and what the file says of its roles."""
    with path.open("rb") as opened:
        head = opened.read(4096)
    if head.startswith(b"GGUF"):
        _refuse(options, path)
        return read_gguf(path), TokenizerOverrides()
    if RANK_LINE.fullmatch(head.lstrip().partition(b"\n")[0].strip()):
        return fast_tokenizer(read_tiktoken(path, options)), TokenizerOverrides()
    if head.lstrip().startswith(b"{"):
        return _from_json(path, options)
    if head.startswith(b"\n"):  # the tag of a protobuf's first field
        _refuse(options, path)
        backend, overrides = read_sentencepiece(path)
        return fast_tokenizer(backend), overrides
    raise ValueError(
        f"{path} is not a tokenizer that is known here: it starts with {head[:16]!r}. "
        f"Expected {KINDS}."
    )


def _from_json(
    path: Path, options: RankOptions
) -> tuple[PreTrainedTokenizerFast, TokenizerOverrides]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(
            f"{path} starts like JSON and can't be read: {error}. The file is damaged: fetch it "
            "again."
        ) from error
    if "vocab" in content and "config" in content:
        backend = read_tekken(path, content, options)
        return fast_tokenizer(backend), TokenizerOverrides(
            bos="<s>", eos="</s>", pad="<pad>", prepend_bos=True
        )
    if "model" not in content:
        raise ValueError(
            f"{path} is JSON, but neither a tokenizer.json (with model) nor a tekken.json (with "
            f"config and vocab): it has {', '.join(sorted(content)[:8])}. Expected {KINDS}."
        )
    _refuse(options, path)
    try:
        backend = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(
            f"{path} is a tokenizer.json that the tokenizers library can't read: {error}. Fetch it "
            "again, or update tokenizers if it was written by a newer one."
        ) from error
    return fast_tokenizer(backend), TokenizerOverrides()


def _refuse(options: RankOptions, spec: str | Path) -> None:
    if options.names_set:
        raise ValueError(
            f"{' and '.join(options.names_set)} can't be set for {str(spec)!r}, which holds that "
            "itself: they are for rank files. Leave them out."
        )
