"""Tokenizers changed so that a text is content and nothing else, and always cut in one way."""

import json
import logging
from collections.abc import Collection
from typing import Any

from tokenizers import Tokenizer, models, normalizers

log = logging.getLogger(__name__)

EDGE_NORMALIZERS = ("Prepend", "Strip")
"""Normalisers of a text's ends: what they do depends on where a piece stands."""
HIDDEN = "\uffff{}\uffff"
"""What a special token is called in a model that must not find it: U+FFFF is no character."""


def content_only(backend: Tokenizer) -> Tokenizer:
    """The same tokenizer, with its switches set to take every text for content.

    '<bos>' in a document is five characters, not the start of one. Needed before each use, since
    every call of the transformers tokenizer around it sets the switches otherwise.
    """
    backend.encode_special_tokens = True
    backend.no_truncation()
    backend.no_padding()
    return backend


def deterministic(backend: Tokenizer) -> Tokenizer:
    """The same tokenizer, or a copy without BPE's dropout and Unigram's sampling."""
    model = backend.model
    is_random = {
        models.BPE: lambda: model.dropout,
        models.Unigram: lambda: model.alpha or model.nbest_size,
    }
    if not is_random.get(type(model), lambda: False)():
        return backend
    log.warning(
        "this tokenizer cuts texts at random (dropout of BPE, or sampling of Unigram). That is "
        "switched off here: one text must have one tokenization. The tokenizer that is exported "
        "with the model keeps it"
    )
    # Unigram's sampling is no part of the state
    state = json.loads(backend.to_str())
    state["model"].pop("dropout", None)
    return _from_state(state)


def without_specials(backend: Tokenizer, hidden_ids: Collection[int]) -> Tokenizer:
    """The tokenizer, unable to find the hidden special tokens in a text by its model either.

    The same where its model finds none anyway, else a copy.
    """
    # merges lead to what was merged in training, and a special token never is
    if isinstance(backend.model, models.BPE) and not backend.model.ignore_merges:
        return backend
    state = json.loads(backend.to_str())
    vocabulary = state["model"]["vocab"]
    unknown = state["model"].get("unk_token")
    if isinstance(vocabulary, list):
        hidden = {vocabulary[i][0]: HIDDEN.format(i) for i in hidden_ids if i < len(vocabulary)}
        renamed: Any = [[hidden.get(piece, piece), score] for piece, score in vocabulary]
    else:
        ids = set(hidden_ids)
        hidden = {
            piece: HIDDEN.format(index)
            for piece, index in vocabulary.items()
            if index in ids and piece != unknown
        }
        renamed = {hidden.get(piece, piece): index for piece, index in vocabulary.items()}
    if not hidden:
        return backend
    state["model"]["vocab"] = renamed
    for token in state["added_tokens"]:
        token["content"] = hidden.get(token["content"], token["content"])
    return _from_state(state | {"post_processor": None})


def without_trimming(backend: Tokenizer) -> Tokenizer:
    """The tokenizer that reports whole spans: GPT-2's may take the whitespace off their ends.

    The same where it reports them anyway, else a copy without a post-processor.
    """
    if backend.post_processor is None:
        return backend
    parts = _parts(json.loads(backend.post_processor.__getstate__()), "processors")
    if not any(part.get("trim_offsets") for part in parts):
        return backend
    return _from_state(json.loads(backend.to_str()) | {"post_processor": None})


def without_first_dummy(backend: Tokenizer) -> Tokenizer:
    """The tokenizer, or a copy, without a dummy space that only the start of a sequence has."""
    state = json.loads(backend.to_str())
    parts = _parts(state["pre_tokenizer"], "pretokenizers")
    first = [part for part in parts if part.get("prepend_scheme") == "first"]
    if not first:
        return backend
    for part in first:
        part["prepend_scheme"] = "never"
    return _from_state(state)


def local_normalizer(
    normalizer: normalizers.Normalizer | None,
) -> normalizers.Normalizer | None:
    """The normaliser without what it does to the ends of a text alone: for pieces of a text."""
    if normalizer is None:
        return None
    parts = _parts(json.loads(normalizer.__getstate__()), "normalizers")
    kept = [part for part in parts if part["type"] not in EDGE_NORMALIZERS]
    state = json.loads(Tokenizer(models.BPE()).to_str())
    state["normalizer"] = {"type": "Sequence", "normalizers": kept}
    local: normalizers.Normalizer | None = _from_state(state).normalizer
    return local


def _from_state(state: dict[str, Any]) -> Tokenizer:
    return Tokenizer.from_str(json.dumps(state))


def _parts(state: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    """The members of a sequence of normalisers or pre-tokenizers, or the only one."""
    if state is None:
        return []
    if state["type"] != "Sequence":
        return [state]
    return [part for member in state[key] for part in _parts(member, key)]
