"""Fast tokenizers of transformers, as the project sees them."""

import json
from collections.abc import Collection, Mapping
from functools import cached_property

import numpy as np
from jaxtyping import Int
from tokenizers import Tokenizer, models, normalizers
from transformers import PreTrainedTokenizerFast

from alm_lightning.tokenization.proof import prove
from alm_lightning.tokenization.surface import (
    BYTE_FALLBACK,
    ReadPiece,
    normal_bytes,
    piece_reader,
    token_bytes,
)
from alm_lightning.tokenization.view import TokenizerView

EDGE_NORMALIZERS = ("Prepend", "Strip")
"""Normalisers of a text's ends: what they do depends on where a piece stands."""
HIDDEN = "\uffff{}\uffff"
"""What a special token is called in a model that must not find it: U+FFFF is no character."""


class FastEncoder:
    """Content ids of a `tokenizers.Tokenizer`: nothing added, nothing parsed as special."""

    def __init__(self, backend: Tokenizer, read_piece: ReadPiece, hidden_ids: Collection[int]):
        """Sets up the encoder.

        Args:
            backend: The tokenizer.
            read_piece: How its pieces spell bytes.
            hidden_ids: Special tokens, which the model itself must not come upon either.
        """
        self._original = backend
        self._backend = _without(_content_only(backend), hidden_ids)
        self._read_piece = read_piece
        self._normalizer = _local(backend.normalizer)

    def ids(self, text: str, *, continued: bool) -> Int[np.ndarray, " pos"]:
        """Content ids of a text.

        Args:
            text: Valid Unicode.
            continued: Whether the text goes on after a special token.

        Returns:
            Token ids.
        """
        backend = _content_only(self._continued if continued else self._backend)
        # twice as fast as encode(), since it leaves the spans out
        (encoding,) = backend.encode_batch_fast([text], add_special_tokens=False)
        return np.array(encoding.ids, dtype=np.int32)

    def spans(self, text: str, *, continued: bool) -> Int[np.ndarray, "pos 2"]:
        """First character, and one past the last, of each token.

        Args:
            text: Valid Unicode.
            continued: Whether the text goes on after a special token.

        Returns:
            The spans of the tokens that `ids` gives.
        """
        backend = _content_only(self._continued if continued else self._backend)
        offsets = backend.encode(text, add_special_tokens=False).offsets
        return np.array(offsets, dtype=np.int64).reshape(-1, 2)

    def spell(self, text: str) -> bytes:
        """What the normaliser makes of a piece of text, wherever it stands."""
        normal = self._normalizer.normalize_str(text) if self._normalizer else text
        # a SentencePiece normaliser answers in the alphabet of its pieces
        return normal_bytes(normal, self._read_piece)

    def decode(self, ids: Int[np.ndarray, " pos"]) -> str:
        """The tokenizer's own word on what ids stand for, to prove the byte table against."""
        return self._backend.decode(ids.tolist(), skip_special_tokens=False)

    def state(self) -> bytes:
        """Everything that changes a tokenization, for a hash of it."""
        return _content_only(self._original).to_str().encode()

    @cached_property
    def _continued(self) -> Tokenizer:
        """The tokenizer without a dummy space that only the start of a sequence has."""
        state = json.loads(self._backend.to_str())
        parts = _parts(state["pre_tokenizer"], "pretokenizers")
        first = [part for part in parts if part.get("prepend_scheme") == "first"]
        if not first:
            return self._backend
        for part in first:
            part["prepend_scheme"] = "never"
        return _from_state(state)


def view_of(tokenizer: PreTrainedTokenizerFast, *, name: str) -> TokenizerView:
    """The project's view of a fast tokenizer of transformers.

    Its byte table is proven on a set of awkward texts before it is handed out.

    Args:
        tokenizer: The tokenizer.
        name: What errors and logs call it.

    Returns:
        The view.

    Raises:
        ValueError: If it is of no family that is known here, or its tokens do not spell what its
            own decoder says.
    """
    backend = tokenizer.backend_tokenizer
    added = backend.get_added_tokens_decoder()
    special = {token.content: index for index, token in added.items() if token.special}
    vocabulary = backend.get_vocab(with_added_tokens=True)
    special |= _unknown_token(backend, vocabulary)
    read_piece = piece_reader(backend.decoder, name)
    encoder = FastEncoder(backend, read_piece, special.values())
    roles = {
        "bos": tokenizer.bos_token_id,
        "eos": tokenizer.eos_token_id,
        "pad": tokenizer.pad_token_id,
    }
    template_ids = backend.encode("a", add_special_tokens=True).ids
    view = TokenizerView(
        name=name,
        token_bytes=token_bytes(vocabulary, added.keys(), set(special.values()), read_piece),
        special_ids=dict(sorted(special.items(), key=lambda item: item[1])),
        roles={role: index for role, index in roles.items() if index is not None},
        fallback_ids=frozenset(
            index for piece, index in vocabulary.items() if BYTE_FALLBACK.fullmatch(piece)
        ),
        prepends_bos=bool(template_ids) and template_ids[0] == tokenizer.bos_token_id,
        encoder=encoder,
        hf=tokenizer,
    )
    return prove(view)


def _unknown_token(backend: Tokenizer, vocabulary: Mapping[str, int]) -> dict[str, int]:
    """The token that stands for what has none: it spells no bytes, declared special or not."""
    if isinstance(backend.model, models.Unigram):
        model = json.loads(backend.to_str())["model"]
        index = model["unk_id"]
        return {} if index is None else {model["vocab"][index][0]: index}
    content = backend.model.unk_token
    return {content: vocabulary[content]} if content in vocabulary else {}


def _without(backend: Tokenizer, hidden_ids: Collection[int]) -> Tokenizer:
    """The tokenizer, unable to find special tokens in a text by its model either."""
    # merges lead to what was merged in training, and a special token never is
    if isinstance(backend.model, models.BPE) and not backend.model.ignore_merges:
        return backend
    state = json.loads(backend.to_str())
    vocabulary = state["model"]["vocab"]
    unknown = state["model"].get("unk_token")
    if isinstance(vocabulary, list):
        hidden = {vocabulary[i][0]: HIDDEN.format(i) for i in hidden_ids if i < len(vocabulary)}
        renamed = [[hidden.get(piece, piece), score] for piece, score in vocabulary]
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


def _from_state(state: dict) -> Tokenizer:
    return Tokenizer.from_str(json.dumps(state))


def _content_only(backend: Tokenizer) -> Tokenizer:
    """The same tokenizer, told to take every text for content, and to cut and pad nothing.

    '<bos>' in a document is five characters, not the start of one. It is told before each use,
    since every call of the transformers tokenizer around it tells it otherwise, and leaves it so.
    """
    backend.encode_special_tokens = True
    backend.no_truncation()
    backend.no_padding()
    return backend


def _parts(state: dict | None, key: str) -> list[dict]:
    """The members of a sequence of normalisers or pre-tokenizers, or the only one."""
    if state is None:
        return []
    return state[key] if state["type"] == "Sequence" else [state]


def _local(normalizer: normalizers.Normalizer | None) -> normalizers.Normalizer | None:
    """The normaliser without what it does to the ends of a text alone."""
    if normalizer is None:
        return None
    parts = _parts(json.loads(normalizer.__getstate__()), "normalizers")
    kept = [part for part in parts if part["type"] not in EDGE_NORMALIZERS]
    state = json.loads(Tokenizer(models.BPE()).to_str())
    state["normalizer"] = {"type": "Sequence", "normalizers": kept}
    return Tokenizer.from_str(json.dumps(state)).normalizer
