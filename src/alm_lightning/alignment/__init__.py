"""Chunks: parts of a text that both tokenizations delimit.

Both token sequences are put on one axis of bytes, and a chunk may end where both have a token end.
`align_text` does it for a text and `align_messages` for a chat. What is trained on is decided by
an `alignment`: the finest chunks, those that end before whitespace, or those merged until their
tokenization bias is small (`alm_lightning.alignment.bias`).
"""

from alm_lightning.alignment.aligned import REASONS, AlignedText
from alm_lightning.alignment.boundaries import ChunkSelection, Finest, Whitespace
from alm_lightning.alignment.text import align_text, uncovered

__all__ = [
    "REASONS",
    "AlignedText",
    "ChunkSelection",
    "Finest",
    "Whitespace",
    "align_text",
    "uncovered",
]
