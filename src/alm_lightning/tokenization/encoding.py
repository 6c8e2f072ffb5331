"""A tokenized text: token ids, and where on the text's byte axis each token ends."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from alm_lightning.corpus.document import BadDocument

INSIDE_REWRITE = -1
"""Byte end of a token that ends inside a stretch which the tokenizer rewrote: it bounds nothing."""


@dataclass(frozen=True)
class Encoding:
    """Tokens of one text, on the byte axis of the text as it was given.

    Attributes:
        ids: Token ids, content only: no BOS, no EOS.
        ends: For each token, how many bytes of the text lie before its end, or `INSIDE_REWRITE`.
        rewritten_bytes: Bytes of the text that no token spells as they are: the tokenizer's
            normaliser changed or dropped them.
        unknown: True for a token that stands for no text (``[UNK]``); None where none is.
    """

    ids: Int[np.ndarray, " pos"]
    ends: Int[np.ndarray, " pos"]
    rewritten_bytes: int = 0
    unknown: Bool[np.ndarray, " pos"] | None = None


def content_bytes(text: str, name: str) -> bytes:
    """UTF-8 bytes of a text, with a readable refusal of what has none.

    Args:
        text: The text.
        name: What the error calls the text.

    Returns:
        The bytes that both tokenizations are measured on.

    Raises:
        TypeError: If the text is no string.
        BadDocument: If the text holds a lone surrogate, which no valid UTF-8 stands for.
    """
    if not isinstance(text, str):
        raise TypeError(f"{name}: expected a text (str), got {type(text).__name__}.")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadDocument(
            f"{name}: lone surrogate U+{ord(text[error.start]):04X} at character {error.start}: "
            "this is no valid Unicode, and no tokenizer can stand for it. Repair or drop it."
        ) from error
