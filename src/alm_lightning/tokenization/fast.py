"""Fast tokenizers of transformers, as the project sees them."""

import json
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from jaxtyping import Int
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from alm_lightning.tokenization.specials.classify import classify_tokens, with_flags
from alm_lightning.tokenization.specials.content_only import (
    EDGE_NORMALIZERS,
    content_only,
    deterministic,
    local_normalizer,
    without_first_dummy,
    without_specials,
    without_trimming,
)
from alm_lightning.tokenization.surface import (
    BYTE_FALLBACK,
    ReadPiece,
    normal_bytes,
    piece_reader,
    token_bytes,
)
from alm_lightning.tokenization.validation import validate_byte_table
from alm_lightning.tokenization.view import TokenizerView

BATCH = 4096
"""Texts that are given to the tokenizers library together."""


class FastEncoder:
    """Content ids of a `tokenizers.Tokenizer`: nothing added, nothing parsed as special.

    Args:
        backend: The tokenizer, which cuts one text in one way.
        read_piece: How its pieces spell bytes.
        hidden_ids: Special tokens, which the model itself must not find either.
        flags: From `classify_tokens`.
    """

    def __init__(
        self,
        backend: Tokenizer,
        read_piece: ReadPiece,
        hidden_ids: Collection[int],
        flags: Mapping[str, bool],
    ):
        self._original = backend
        self._backend = without_specials(content_only(with_flags(backend, flags)), hidden_ids)
        self._read_piece = read_piece
        self._normalizer = local_normalizer(backend.normalizer)

    def ids(self, text: str, *, continued: bool) -> Int[np.ndarray, " pos"]:
        """Content ids of a text, `continued` if it follows a special token."""
        backend = content_only(self._continued if continued else self._backend)
        # twice as fast as encode(), since it leaves the spans out
        (encoding,) = backend.encode_batch_fast([text], add_special_tokens=False)
        return np.array(encoding.ids, dtype=np.int32)

    def ids_of_many(
        self, texts: Sequence[str]
    ) -> tuple[Int[np.ndarray, " pos"], Int[np.ndarray, " text"]]:
        """Content ids of many short texts, each as if it stood in the midst of a longer one.

        No dummy space goes before any of them, whether the tokenizer puts one before each text or
        before the first alone, and nothing is stripped off their ends.

        Returned are the ids of all texts, joined, and the number of ids of each.
        """
        backend = content_only(self._inside)
        ids, counts = [np.zeros(0, dtype=np.int32)], np.zeros(len(texts), dtype=np.int64)
        # in parts, for the library keeps a good kilobyte a text until they are read out
        for start in range(0, len(texts), BATCH):
            part = backend.encode_batch_fast(texts[start : start + BATCH], add_special_tokens=False)
            found = [encoding.ids for encoding in part]
            counts[start : start + BATCH] = [len(found_ids) for found_ids in found]
            ids.append(np.fromiter(chain.from_iterable(found), dtype=np.int32))
        return np.concatenate(ids), counts

    def spans(self, text: str, *, continued: bool) -> Int[np.ndarray, "pos 2"]:
        """First character, and one past the last, of each token that `ids` gives."""
        backend = content_only(self._spanning[continued])
        offsets = backend.encode(text, add_special_tokens=False).offsets
        return np.array(offsets, dtype=np.int64).reshape(-1, 2)

    def spell(self, text: str) -> bytes:
        """What the normaliser makes of a piece of text, wherever it stands."""
        normal = self._normalizer.normalize_str(text) if self._normalizer else text
        # a SentencePiece normaliser answers in the alphabet of its pieces
        return normal_bytes(normal, self._read_piece)

    def decode(self, ids: Int[np.ndarray, " pos"]) -> str:
        """What ids stand for by the tokenizer's own decoder, to check the byte table against."""
        if self._backend.decoder is None:
            # the library would put a space between any two tokens
            return "".join(self._backend.id_to_token(index) or "" for index in ids.tolist())
        return self._backend.decode(ids.tolist(), skip_special_tokens=False)

    def state(self) -> bytes:
        """Everything that changes a tokenization, for a hash of it."""
        return content_only(self._original).to_str().encode()

    @cached_property
    def _continued(self) -> Tokenizer:
        return without_first_dummy(self._backend)

    @cached_property
    def _inside(self) -> Tokenizer:
        """The tokenizer that takes a text for a piece out of a longer one."""
        backend = self._continued
        cut = backend.pre_tokenizer and json.loads(backend.pre_tokenizer.__getstate__())
        edges = backend.normalizer and json.loads(backend.normalizer.__getstate__())
        if cut == _without_dummy(cut) and not _at_edges(edges):
            return backend
        # a large vocabulary takes seconds to copy
        inside = Tokenizer.from_str(
            json.dumps(json.loads(backend.to_str()) | {"pre_tokenizer": _without_dummy(cut)})
        )
        inside.normalizer = self._normalizer
        return inside

    @cached_property
    def _spanning(self) -> dict[bool, Tokenizer]:
        """The tokenizers that report spans, by whether the text is continued."""
        whole = without_trimming(self._backend)
        is_same = self._continued is self._backend
        return {False: whole, True: whole if is_same else without_trimming(self._continued)}


def _without_dummy(pre_tokenizer: dict[str, Any] | None) -> dict[str, Any] | None:
    """The state of a pre-tokenizer without the space that it puts before a text."""
    if pre_tokenizer is None:
        return None
    if pre_tokenizer["type"] == "Sequence":
        return pre_tokenizer | {
            "pretokenizers": [_without_dummy(part) for part in pre_tokenizer["pretokenizers"]]
        }
    never = {"prepend_scheme": "never", "add_prefix_space": False}
    return pre_tokenizer | {key: never[key] for key in never.keys() & pre_tokenizer.keys()}


def _at_edges(normalizer: dict[str, Any] | None) -> bool:
    """Whether a normaliser, by its state, does something to the ends of a text."""
    if normalizer is None:
        return False
    parts = normalizer.get("normalizers", [normalizer])
    return any(part["type"] in EDGE_NORMALIZERS for part in parts)


def view_of(tokenizer: PreTrainedTokenizerFast, *, name: str) -> TokenizerView:
    """The project's view of a fast tokenizer of transformers.

    Errors and logs call it by `name`. A ValueError if it is of no family that is known here, or its
    tokens do not spell what its own decoder says (`validate_byte_table`).
    """
    backend = deterministic(tokenizer.backend_tokenizer)
    vocabulary = backend.get_vocab(with_added_tokens=True)
    read_piece = piece_reader(backend.decoder, name)
    given_roles = {
        "bos": tokenizer.bos_token_id,
        "eos": tokenizer.eos_token_id,
        "pad": tokenizer.pad_token_id,
    }
    roles = {role: index for role, index in given_roles.items() if index is not None}
    classes = classify_tokens(
        backend,
        roles=roles,
        unknown=_unknown_token(backend, vocabulary),
        read_piece=read_piece,
        name=name,
    )
    structure_ids = set(classes.special_ids.values())
    encoder = FastEncoder(backend, read_piece, structure_ids, classes.flags)
    template_ids = backend.encode("a", add_special_tokens=True).ids
    view = TokenizerView(
        name=name,
        token_bytes=token_bytes(vocabulary, classes.literal_ids, structure_ids, read_piece),
        special_ids=classes.special_ids,
        # rows are filled up with the EOS where the token that pads is text
        roles={role: index for role, index in roles.items() if index in structure_ids},
        fallback_ids=frozenset(
            index for piece, index in vocabulary.items() if BYTE_FALLBACK.fullmatch(piece)
        ),
        prepends_bos=bool(template_ids) and template_ids[0] == tokenizer.bos_token_id,
        encoder=encoder,
        hf=tokenizer,
    )
    return validate_byte_table(view)


def _unknown_token(backend: Tokenizer, vocabulary: Mapping[str, int]) -> dict[str, int]:
    """The token that stands for what has none: it spells no bytes, declared special or not."""
    if isinstance(backend.model, models.Unigram):
        model = json.loads(backend.to_str())["model"]
        index = model["unk_id"]
        return {} if index is None else {model["vocab"][index][0]: index}
    content = backend.model.unk_token
    return {content: vocabulary[content]} if content in vocabulary else {}
