"""Surface forms: which bytes of text each token id stands for, read once per vocabulary.

Character offsets of fast tokenizers are not used: they overlap where a token cuts a character. The
bytes of a token follow from the family of its tokenizer, which the decoder gives away:

* byte-level BPE: each character of the piece is a letter of GPT-2's byte alphabet;
* SentencePiece style: U+2581 stands for a space, ``<0xNN>`` for one byte;
* WordPiece: ``##`` continues a word; BPE with an end of word: ``</w>`` ends one. Both drop the
  whitespace of a text, and no token stands for it;
* no decoder: the piece itself.
"""

import json
import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

BYTE_FALLBACK = re.compile(r"<0x([0-9A-Fa-f]{2})>")
METASPACE = "\u2581"
ReadPiece = Callable[[str], bytes]


def byte_alphabet() -> dict[str, int]:
    """GPT-2's alphabet of printable characters for the 256 bytes, from character to byte.

    Printable Latin-1 characters stand for themselves, the other 68 bytes for the characters from
    U+0100 on, in ascending order.

    Returns:
        One entry for each byte.

    Example:
        >>> alphabet = byte_alphabet()
        >>> len(alphabet), alphabet["a"], alphabet["Ġ"] == ord(" ")
        (256, 97, True)
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(0x100 + rank): byte for rank, byte in enumerate(others)
    }


_ALPHABET = byte_alphabet()


def byte_level_piece(piece: str) -> bytes:
    """Bytes of a piece of a byte-level BPE vocabulary.

    ``Ġthe`` stands for ``b" the"``. A piece with a letter outside the alphabet can't come out of a
    byte-level tokenizer: it is text, as an added token's is.
    """
    try:
        return bytes([_ALPHABET[letter] for letter in piece])
    except KeyError:
        return piece.encode("utf-8")


def sentencepiece_piece(piece: str) -> bytes:
    r"""Bytes of a piece of a SentencePiece-style vocabulary.

    ``▁the`` stands for ``b" the"``, and ``<0x0A>`` for a line end.
    """
    fallback = BYTE_FALLBACK.fullmatch(piece)
    if fallback:
        return bytes([int(fallback[1], 16)])
    return piece.replace(METASPACE, " ").encode("utf-8")


def piece_reader(decoder: Any, name: str) -> ReadPiece:
    """The function that turns a piece into bytes, chosen by the tokenizer's decoder.

    Args:
        decoder: The decoder of a `tokenizers.Tokenizer`, or None.
        name: What an error calls the tokenizer.

    Returns:
        `byte_level_piece`, `sentencepiece_piece`, or a function that takes a word's marks off.

    Raises:
        ValueError: If the decoder is of no family that is known here.
    """
    parts = _decoder_parts(decoder)
    types = [part["type"] for part in parts]
    if "ByteLevel" in types:
        return byte_level_piece
    # a Replace decoder counts only where it is SentencePiece's: U+2581 to a space
    replaces = [part["pattern"] for part in parts if part["type"] == "Replace"]
    if "Metaspace" in types or {"String": METASPACE} in replaces:
        return sentencepiece_piece
    if types == ["WordPiece"]:
        # no lambdas: a view is pickled for the workers that pair
        return partial(_word_piece, prefix=parts[0]["prefix"])
    if types == ["BPEDecoder"]:
        return partial(_word_piece, suffix=parts[0]["suffix"])
    if types in ([], ["Fuse"]):
        return str.encode
    raise ValueError(
        f"tokenizer {name!r}: its decoder ({', '.join(sorted(types))}) is of no family that is "
        "known here, so the bytes of its tokens are unknown. Byte-level BPE, SentencePiece style, "
        "WordPiece, BPE with an end of word, and tokenizers without a decoder are supported; "
        "docs/tokenizers.md says how to add one."
    )


def _word_piece(piece: str, *, prefix: str = "", suffix: str = "") -> bytes:
    return piece.removeprefix(prefix).removesuffix(suffix).encode("utf-8")


def _decoder_parts(decoder: Any) -> list[dict[str, Any]]:
    """States of a decoder and of all decoders within it, without the frame of a sequence."""
    if decoder is None:
        return []
    state: dict[str, Any] = json.loads(decoder.__getstate__())
    parts: list[dict[str, Any]] = state.get("decoders", [state])
    return parts


def normal_bytes(text: str, read_piece: ReadPiece) -> bytes:
    """Bytes of what a normaliser gave, before it is cut into tokens."""
    # SentencePiece's has turned spaces into U+2581 by then
    plain = text.replace(METASPACE, " ") if read_piece is sentencepiece_piece else text
    return plain.encode("utf-8")


def token_bytes(
    vocabulary: Mapping[str, int],
    literal_ids: Collection[int],
    structure_ids: Collection[int],
    read_piece: ReadPiece,
) -> list[bytes | None]:
    """The bytes of every token id of a vocabulary.

    Args:
        vocabulary: From piece to id, added tokens included.
        literal_ids: Ids of added tokens that are plain text, not spelled in an alphabet.
        structure_ids: Ids that stand for no text: special tokens, the unknown token.
        read_piece: From `piece_reader`.

    Returns:
        The bytes of each id up to the highest; None for structure and for an id without a token.
    """
    surfaces: list[bytes | None] = [None] * (max(vocabulary.values(), default=-1) + 1)
    for piece, index in vocabulary.items():
        if index in structure_ids:
            continue
        is_text = index in literal_ids and read_piece is not sentencepiece_piece
        surfaces[index] = piece.encode("utf-8") if is_text else read_piece(piece)
    return surfaces
