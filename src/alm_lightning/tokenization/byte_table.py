"""The bytes of a whole vocabulary in arrays: what tokens spell, without a Python step a token."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, UInt8, UInt64

WORD = 8
"""Bytes that are compared at once: those of one machine word."""
MASKS = np.array([256**n - 1 for n in range(WORD + 1)], dtype=np.uint64)
"""Which bytes of its first word are a token's own, by how many it has."""


class ByteTable:
    """Which bytes each token id stands for.

    Args:
        surfaces: The bytes of each id; None for one that stands for no text.

    Example:
        >>> table = ByteTable([b"a", b" bc", None])
        >>> table.spelled(np.array([1, 0])).tobytes()
        b' bca'
        >>> table.ends(np.array([0, 1]), b"a bc"), table.ends(np.array([0, 1]), b"a bd")
        ((array([1, 4]), True), (array([1, 4]), False))
    """

    def __init__(self, surfaces: Sequence[bytes | None]):
        joined = b"".join(surface or b"" for surface in surfaces)
        self.is_content: Bool[np.ndarray, " vocab"] = np.array([s is not None for s in surfaces])
        self.lengths: Int[np.ndarray, " vocab"] = np.array([len(s or b"") for s in surfaces])
        self._starts = np.cumsum(self.lengths) - self.lengths
        self._joined = np.frombuffer(joined, np.uint8)
        windows = _windows(joined)
        self._first = windows[self._starts] & MASKS.take(self.lengths, mode="clip")
        # of tokens longer than a word: what stands here for the others is never looked at
        self._last = windows[np.maximum(self._starts + self.lengths - WORD, 0)]

    def spelled(self, ids: Int[np.ndarray, " pos"]) -> UInt8[np.ndarray, " byte"]:
        """The bytes that tokens stand for, joined."""
        lengths = self.lengths.take(ids)
        shifts = np.repeat(self._starts.take(ids) - (lengths.cumsum() - lengths), lengths)
        return self._joined[shifts + np.arange(len(shifts))]

    def ends(
        self, ids: Int[np.ndarray, " pos"], content: bytes
    ) -> tuple[Int[np.ndarray, " pos"], bool]:
        """Where each token ends in what all of them spell, and whether that is a given text.

        A token is compared by its first and its last machine word, which is all of it up to 16
        bytes; longer ones are spelled out. A dummy space in front stands for nothing of the text.

        Returned are the ends, ascending, and whether the tokens spell `content`, byte for byte, or
        `content` after a space. Ends count the bytes of `content` if they do, else those that are
        spelled.
        """
        # an index of another type would be converted at each take
        places = ids.astype(np.intp)
        lengths = self.lengths.take(places)
        ends = lengths.cumsum()
        if len(ids) == 0:
            return ends, len(content) == 0
        dummy = int(ends[-1]) - len(content)
        if dummy not in (0, 1):
            return ends, False
        is_exact = self._spells(places, lengths, ends, b" " * dummy + content)
        return ends - dummy if is_exact and dummy else ends, is_exact

    def _spells(
        self,
        ids: Int[np.ndarray, " pos"],
        lengths: Int[np.ndarray, " pos"],
        ends: Int[np.ndarray, " pos"],
        content: bytes,
    ) -> bool:
        """Whether tokens that are as long as a text together are that text."""
        windows = _windows(content)
        differ = windows.take(ends - lengths)
        differ ^= self._first.take(ids)
        differ &= MASKS.take(lengths, mode="clip")
        if np.count_nonzero(differ):
            return False
        long = np.flatnonzero(lengths > WORD)
        differ = windows.take(ends.take(long) - WORD)
        differ ^= self._last.take(ids.take(long))
        if np.count_nonzero(differ):
            return False
        longer = long[lengths.take(long) > 2 * WORD]
        return len(longer) == 0 or self._spell_longer(ids[longer], ends[longer], content)

    def _spell_longer(
        self, ids: Int[np.ndarray, " pos"], ends: Int[np.ndarray, " pos"], content: bytes
    ) -> bool:
        """Whether each of some tokens stands in a text where it ends."""
        lengths = self.lengths[ids]
        starts = np.repeat(ends - lengths - (lengths.cumsum() - lengths), lengths)
        given = np.frombuffer(content, np.uint8)[starts + np.arange(len(starts))]
        return np.array_equal(given, self.spelled(ids))


def _windows(content: bytes) -> UInt64[np.ndarray, " byte_plus_one"]:
    """The word of eight bytes that starts at each position, padded with zeros at the end."""
    padded = content + bytes(WORD)
    # a copy: numpy would make one at every gather from words that are not aligned
    return np.ndarray((len(content) + 1,), dtype="<u8", buffer=padded, strides=(1,)).copy()
