"""The byte tokenizer: 256 bytes, and special tokens after them."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from alm_lightning.tokenization.bytes.fast import byte_tokenizer
from alm_lightning.tokenization.chat.formats import BYTES, FORMATS, fitting
from alm_lightning.tokenization.rewrite import byte_positions
from alm_lightning.tokenization.specials.roles import (
    KEEP,
    REPLACE,
    check_choice,
    check_known,
)
from alm_lightning.tokenization.view import TokenizerView

log = logging.getLogger(__name__)

NUM_BYTES = 256
DEFAULT_ROLES = {"bos": "<bos>", "eos": "<eos>", "pad": "<pad>"}


def byte_view(
    roles: Mapping[str, str] = DEFAULT_ROLES,
    other_specials: Sequence[str] = (),
    chat_template: str | dict[str, str] | None = BYTES,
) -> TokenizerView:
    """The byte tokenizer: id b stands for the byte b, special tokens follow from 256 on.

    Args:
        roles: The texts of the ``bos``, ``eos`` and ``pad`` tokens.
        other_specials: Texts of further special tokens, such as the marks of a chat's turns.
        chat_template: How chats are written, in Jinja: role, newline, content and EOS by default.

    Returns:
        Its view.

    Example:
        >>> view = byte_view(other_specials=["<end_of_turn>"])
        >>> view.encode("é").ids, view.num_tokens, view.special_ids["<end_of_turn>"]
        (array([195, 169], dtype=int32), 260, 259)
    """
    specials = [*dict.fromkeys([roles["bos"], roles["eos"], roles["pad"], *other_specials])]
    special_ids = {content: NUM_BYTES + rank for rank, content in enumerate(specials)}
    hf = byte_tokenizer(specials, bos=roles["bos"], eos=roles["eos"], pad=roles["pad"])
    hf.chat_template = chat_template
    return TokenizerView(
        name="bytes",
        token_bytes=[bytes([byte]) for byte in range(NUM_BYTES)] + [None] * len(specials),
        special_ids=special_ids,
        roles={role: special_ids[content] for role, content in roles.items()},
        fallback_ids=frozenset(),
        prepends_bos=True,
        encoder=ByteEncoder(),
        hf=hf,
    )


class ByteEncoder:
    """Bytes as ids: nothing to normalise, nothing to look up."""

    def ids(self, text: str, *, continued: bool) -> Int[np.ndarray, " pos"]:
        """The bytes of a text."""
        del continued
        return np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int32)

    def ids_of_many(
        self, texts: Sequence[str]
    ) -> tuple[Int[np.ndarray, " pos"], Int[np.ndarray, " text"]]:
        """The bytes of many texts, and how many each has."""
        encoded = [text.encode("utf-8") for text in texts]
        ids = np.frombuffer(b"".join(encoded), np.uint8).astype(np.int32)
        return ids, np.array([len(content) for content in encoded], dtype=np.int64)

    def spans(self, text: str, *, continued: bool) -> Int[np.ndarray, "pos 2"]:
        """The character that each byte is of."""
        del continued
        lengths = np.diff(byte_positions(text))
        characters = np.repeat(np.arange(len(text)), lengths)
        return np.stack([characters, characters + 1], axis=1)

    def spell(self, text: str) -> bytes:
        """The text as it is."""
        return text.encode("utf-8")

    def decode(self, ids: Int[np.ndarray, " pos"]) -> str:
        """The text of the bytes."""
        return bytes(ids.tolist()).decode("utf-8", errors="replace")

    def state(self) -> bytes:
        """There is only one way to take bytes for ids."""
        return b"bytes"


def byte_view_like(
    old: TokenizerView, keep: Sequence[str] | None, special_tokens: str = KEEP
) -> TokenizerView:
    """The byte tokenizer of a student that had another one.

    With the old special tokens it has the old chat template. Where there is none, the format that
    the kept special tokens give away is taken, or else the byte tokenizer's own.

    Args:
        old: The tokenizer to replace. With ``keep``, the token that begins its documents, its EOS
            and its pad token are kept. Where it has no pad token, its EOS plays that role as well.
        keep: With ``keep``: texts of further special tokens to have; those that `old` lacks are an
            error. None for those that the chat template of `old` writes.
        special_tokens: ``keep`` for special tokens and chat template of `old`; ``replace`` for the
            byte tokenizer's own, the same for every student: an ensemble's members need that.

    Returns:
        The byte view.

    Raises:
        ValueError: If `special_tokens` is neither, `old` lacks one of `keep`, or has no EOS.
    """
    check_choice(special_tokens)
    check_known(old, keep or (), "keep (student.special_tokens)")
    eos_id = old.id_of("eos")
    if special_tokens == REPLACE:
        return byte_view()
    texts = {index: content for content, index in old.special_ids.items()}
    roles = {role: texts[old.roles.get(role, eos_id)] for role in ("bos", "eos", "pad")}
    template = old.hf.chat_template
    written = [text for text in old.special_ids if text in str(template)]
    if keep is None:
        keep = [text for text in written if text not in roles.values()]
        if keep:
            log.info("%s are kept, which the chat template of %s writes", ", ".join(keep), old.name)
    if not _writes_bos(old):
        # a BOS in name alone, as SmolLM2's, began no document that the model was trained on, but it
        # may begin turns
        keep = [roles["bos"], *keep]
        roles["bos"] = texts[old.start_id]
    if template is None and len(fitting({*roles.values(), *keep})) != 1:
        template = BYTES
    view = byte_view(roles, keep, template)
    lost = [text for text in written if text not in view.special_ids]
    if lost:
        log.warning(
            "the chat template of tokenizer %s writes the special tokens %s, which the byte "
            "tokenizer does not keep: in a chat they are bytes like any other. Add them to "
            "student.special_tokens to train on chats",
            old.name,
            ", ".join(lost),
        )
    return view


def _writes_bos(old: TokenizerView) -> bool:
    """Whether chats begin with the BOS: by the template, or the formats that the tokens fit."""
    template = old.hf.chat_template
    if template is not None:
        return "bos_token" in str(template)
    return any("bos_token" in FORMATS[name].jinja for name in fitting(old.special_ids))
