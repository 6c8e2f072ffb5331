"""Surface forms: which bytes of text each token id stands for, read once per vocabulary.

Character offsets of fast tokenizers are not used: they overlap where a token cuts a character. The
bytes of a token follow from the family of its tokenizer, which the decoder gives away:

* byte-level BPE: each character of the piece is a letter of GPT-2's byte alphabet;
* SentencePiece style: U+2581 stands for a space, ``<0xNN>`` for one byte.
"""

import json
import re
from collections.abc import Callable, Collection, Mapping

BYTE_FALLBACK = re.compile(r"<0x([0-9A-Fa-f]{2})>")
METASPACE = "\u2581"
ReadPiece = Callable[[str], bytes]


def byte_alphabet() -> dict[str, int]:
    """GPT-2's alphabet of printable characters for the 256 bytes, from character to byte.

    Returns:
        One entry a byte: printable Latin-1 characters stand for themselves, the other 68 bytes for
        the characters from U+0100 on, in ascending order.

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

    Args:
        piece: The piece as the vocabulary spells it, such as ``Ġthe``.

    Returns:
        The bytes that the piece stands for, such as ``b" the"``.
    """
    return bytes(_ALPHABET[letter] for letter in piece)


def sentencepiece_piece(piece: str) -> bytes:
    r"""Bytes of a piece of a SentencePiece-style vocabulary.

    Args:
        piece: The piece as the vocabulary spells it, such as ``▁the`` or ``<0x0A>``.

    Returns:
        The bytes that the piece stands for, such as ``b" the"`` or ``b"\\n"``.
    """
    fallback = BYTE_FALLBACK.fullmatch(piece)
    if fallback:
        return bytes([int(fallback[1], 16)])
    return piece.replace(METASPACE, " ").encode("utf-8")


def _decoder_types(decoder: object) -> set[str]:
    """Types of a decoder and of all decoders within it."""
    state = json.loads(decoder.__getstate__())
    parts = [state, *state.get("decoders", [])]
    # a Replace decoder counts only where it is SentencePiece's: U+2581 to a space
    return {
        f"Replace {part['pattern']}" if part["type"] == "Replace" else part["type"]
        for part in parts
    }


def normal_bytes(text: str, read_piece: ReadPiece) -> bytes:
    """Bytes of a normalised text, before it is cut into tokens.

    Args:
        text: What the normaliser gave.
        read_piece: From `piece_reader`.

    Returns:
        Its bytes; SentencePiece's normaliser has turned spaces into U+2581 by then.
    """
    plain = text if read_piece is byte_level_piece else text.replace(METASPACE, " ")
    return plain.encode("utf-8")


def piece_reader(decoder: object, name: str) -> ReadPiece:
    """The function that turns a piece into bytes, chosen by the tokenizer's decoder.

    Args:
        decoder: The decoder of a `tokenizers.Tokenizer`, or None.
        name: What an error calls the tokenizer.

    Returns:
        `byte_level_piece` or `sentencepiece_piece`.

    Raises:
        ValueError: If the decoder is of neither family.
    """
    types = _decoder_types(decoder) if decoder is not None else set()
    if "ByteLevel" in types:
        return byte_level_piece
    if "Metaspace" in types or f"Replace { {'String': METASPACE} }" in types:
        return sentencepiece_piece
    raise ValueError(
        f"tokenizer {name!r}: its decoder ({', '.join(sorted(types)) or 'none'}) is neither "
        "byte-level nor SentencePiece style, so the bytes of its tokens are unknown. Byte-level "
        "BPE and SentencePiece-style tokenizers are supported."
    )


def token_bytes(
    vocabulary: Mapping[str, int],
    added_ids: Collection[int],
    special_ids: Collection[int],
    read_piece: ReadPiece,
) -> list[bytes | None]:
    """The bytes of every token id of a vocabulary.

    Args:
        vocabulary: From piece to id, added tokens included.
        added_ids: Ids of added tokens, whose pieces are plain text, not spelled in an alphabet.
        special_ids: Ids that stand for structure: they have no bytes.
        read_piece: From `piece_reader`.

    Returns:
        One entry an id up to the highest: its bytes, or None for a special token and for an id
        that no token has.
    """
    surfaces: list[bytes | None] = [None] * (max(vocabulary.values()) + 1)
    for piece, index in vocabulary.items():
        if index in special_ids:
            continue
        if index in added_ids and read_piece is byte_level_piece:
            surfaces[index] = piece.encode("utf-8")
        else:
            surfaces[index] = read_piece(piece)
    return surfaces
