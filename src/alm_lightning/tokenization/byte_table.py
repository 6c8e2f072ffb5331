"""The bytes of a whole vocabulary in arrays: what tokens spell, without a Python step a token."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, UInt8

WORD = 8
"""Bytes that are compared at once: those of one machine word."""


class ByteTable:
    """Which bytes each token id stands for.

    Example:
        >>> table = ByteTable([b"a", b" bc", None])
        >>> table.spelled(np.array([1, 0])).tobytes()
        b' bca'
        >>> table.ends(np.array([0, 1]), b"a bc"), table.ends(np.array([0, 1]), b"a bd")
        ((array([1, 4]), True), (array([1, 4]), False))
    """

    def __init__(self, surfaces: Sequence[bytes | None]):
        """Sets up the table.

        Args:
            surfaces: The bytes of each id; None for one that stands for no text.
        """
        joined = b"".join(surface or b"" for surface in surfaces)
        self.is_content: Bool[np.ndarray, " vocab"] = np.array([s is not None for s in surfaces])
        self.lengths: Int[np.ndarray, " vocab"] = np.array([len(s or b"") for s in surfaces])
        self._starts = np.cumsum(self.lengths) - self.lengths
        self._joined = np.frombuffer(joined, np.uint8)
        windows = _windows(joined)
        masks = np.array([256**n - 1 for n in range(WORD + 1)], dtype=np.uint64)
        # which bytes of its first word are the token's own, and what they are
        self._masks = masks[np.minimum(self.lengths, WORD)]
        self._first = windows[self._starts] & self._masks
        # of tokens longer than a word: what stands here for the others is never looked at
        self._last = windows[np.maximum(self._starts + self.lengths - WORD, 0)]

    def spelled(self, ids: Int[np.ndarray, " pos"]) -> UInt8[np.ndarray, " byte"]:
        """The bytes that tokens stand for, joined.

        Args:
            ids: Token ids.

        Returns:
            Their bytes.
        """
        lengths = self.lengths.take(ids)
        shifts = np.repeat(self._starts.take(ids) - (lengths.cumsum() - lengths), lengths)
        return self._joined[shifts + np.arange(len(shifts))]

    def ends(
        self, ids: Int[np.ndarray, " pos"], content: bytes
    ) -> tuple[Int[np.ndarray, " pos"], bool]:
        """Where each token ends in what all of them spell, and whether that is a given text.

        A token is compared by its first and its last machine word, which is all of it up to 16
        bytes; longer ones are spelled out.

        Args:
            ids: Token ids.
            content: The text's bytes.

        Returns:
            Bytes spelled up to the end of each token, ascending; and whether the tokens spell
            `content`, byte for byte.
        """
        # an index of another type would be converted for each table anew
        places = ids.astype(np.intp)
        lengths = self.lengths.take(places)
        ends = lengths.cumsum()
        if len(ids) == 0 or ends[-1] != len(content):
            return ends, len(ids) == len(content) == 0
        windows = _windows(content)
        differ = windows.take(ends - lengths)
        differ ^= self._first.take(places)
        differ &= self._masks.take(places)
        if np.count_nonzero(differ):
            return ends, False
        long = np.flatnonzero(lengths > WORD)
        if np.count_nonzero(windows[ends[long] - WORD] != self._last.take(places[long])):
            return ends, False
        longer = long[lengths[long] > 2 * WORD]
        return ends, len(longer) == 0 or self._spell(ids[longer], ends[longer], content)

    def _spell(
        self, ids: Int[np.ndarray, " pos"], ends: Int[np.ndarray, " pos"], content: bytes
    ) -> bool:
        """Whether each of some tokens stands in a text where it ends."""
        lengths = self.lengths[ids]
        starts = np.repeat(ends - lengths - (lengths.cumsum() - lengths), lengths)
        given = np.frombuffer(content, np.uint8)[starts + np.arange(len(starts))]
        return np.array_equal(given, self.spelled(ids))


def _windows(content: bytes) -> np.ndarray:
    """The word of eight bytes that starts at each position, padded with zeros at the end."""
    padded = content + bytes(WORD)
    return np.ndarray((len(content) + 1,), dtype="<u8", buffer=padded, strides=(1,))
