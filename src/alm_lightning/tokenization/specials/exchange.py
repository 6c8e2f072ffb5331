"""A fast tokenizer's vocabulary with other special tokens: ordinary ones first, without holes.

It is changed in its own file format, tokenizer.json: normaliser, pre-tokenizer and decoder stay
as they are, so texts are cut as before.
"""

import json
import logging
from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer

from alm_lightning.tokenization.surface import byte_alphabet, byte_level_piece, piece_reader
from alm_lightning.tokenization.view import TokenizerView

log = logging.getLogger(__name__)

MODELS = ("BPE", "Unigram", "WordPiece")
"""Kinds of models whose files are understood here."""
SHOWN = 5
"""Tokens that a message lists."""


def exchange_specials(donor: TokenizerView, specials: Sequence[AddedToken]) -> Tokenizer:
    """The ordinary tokens of a tokenizer, renumbered, with other special tokens after them.

    Added tokens that are not special, such as runs of line ends, are ordinary. The unknown token
    stays where the model can come to need it: not where bytes spell everything.

    Args:
        donor: The tokenizer; it stays as it is.
        specials: The special tokens to have, in the order of their ids.

    Returns:
        The tokenizer, with nothing added to the ends of a text. A piece with the text of one of
        `specials` is that special token, and no content.

    Raises:
        ValueError: The model of `donor` is of another kind.
    """
    backend = donor.hf.backend_tokenizer
    state = json.loads(backend.to_str())
    model = state["model"]
    if model["type"] not in MODELS:
        raise ValueError(
            f"tokenizer {donor.name!r} has a model of type {model['type']}, whose special tokens "
            f"can't be exchanged: that is done for {', '.join(MODELS)}. Take the tokenizer with "
            "its own ones: special_tokens='replace' (tokenizer.special_tokens)."
        )
    texts = [token.content for token in specials]
    _report_lost(donor, texts)
    removed = donor.special_ids.keys() | set(texts)
    unknown = _unknown(backend, model, donor.name)
    ids = _renumber(model, removed, unknown)
    ordinary = [
        token
        for token in state["added_tokens"]
        if not token["special"] and token["content"] not in removed
    ]
    added = [*ordinary, *map(_entry, specials)]
    if unknown is not None and unknown not in texts:
        added.append(_entry(AddedToken(unknown, special=True, normalized=False)))
    for token in added:
        token["id"] = ids.setdefault(token["content"], len(ids))
    state["added_tokens"] = sorted(added, key=lambda token: token["id"])
    state |= {"post_processor": None, "truncation": None, "padding": None}
    return Tokenizer.from_str(json.dumps(state))


def _unknown(backend: Tokenizer, model: dict[str, Any], name: str) -> str | None:
    """The unknown token that a model needs."""
    vocabulary = model["vocab"]
    if model["type"] == "Unigram":
        return None if model["unk_id"] is None else str(vocabulary[model["unk_id"]][0])
    unknown: str | None = model["unk_token"]
    if unknown not in vocabulary or model["type"] == "WordPiece":
        return unknown
    spelled = piece_reader(backend.decoder, name) is byte_level_piece
    pieces = byte_alphabet() if spelled else [f"<0x{byte:02X}>" for byte in range(256)]
    bytes_suffice = (spelled or model["byte_fallback"]) and all(p in vocabulary for p in pieces)
    return None if bytes_suffice else unknown


def _renumber(model: dict[str, Any], removed: set[str], unknown: str | None) -> dict[str, int]:
    """Takes pieces out of a model, and moves the unknown token to the end; gives the new ids."""
    if model["type"] == "Unigram":
        scores = dict(model["vocab"])
        pieces = [piece for piece, _ in model["vocab"] if piece not in removed]
        pieces += [] if unknown is None else [unknown]
        model["vocab"] = [[piece, scores[piece]] for piece in pieces]
        model["unk_id"] = None if unknown is None else len(pieces) - 1
        return {piece: index for index, piece in enumerate(pieces)}
    in_order = sorted(model["vocab"], key=model["vocab"].__getitem__)
    pieces = [piece for piece in in_order if piece not in removed]
    pieces += [unknown] if unknown in model["vocab"] else []
    model["vocab"] = {piece: index for index, piece in enumerate(pieces)}
    if model["type"] == "BPE":
        model["unk_token"] = unknown
        prefix = model["continuing_subword_prefix"] or ""
        model["merges"] = [
            [left, right]
            for left, right in model["merges"]
            if not removed & {left, right, left + right.removeprefix(prefix)}
        ]
    return dict(model["vocab"])


def _entry(token: AddedToken) -> dict[str, Any]:
    """A special token as a tokenizer.json has it, but for its id."""
    return {
        "content": token.content,
        "single_word": token.single_word,
        "lstrip": token.lstrip,
        "rstrip": token.rstrip,
        # a normaliser that was made for other tokens would change its text
        "normalized": False,
        "special": True,
    }


def _report_lost(donor: TokenizerView, texts: Sequence[str]) -> None:
    vocabulary = donor.hf.get_vocab()
    lost = [t for t in texts if t in vocabulary and t not in donor.special_ids]
    if lost:
        log.warning(
            "tokenizer %s has ordinary tokens with the texts of special ones, %s: they are special "
            "now, and content of that text is cut into other tokens",
            donor.name,
            ", ".join(lost[:SHOWN]) + (f" and {len(lost) - SHOWN} more" if lost[SHOWN:] else ""),
        )
