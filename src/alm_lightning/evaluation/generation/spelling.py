"""From token ids to text, one at a time: whole characters only, up to a stop or a length."""

import codecs

from alm_lightning.evaluation.evaluated_model import EvaluatedModel


class Spelling:
    """A text that grows.

    Attributes:
        num_tokens: Number of tokens that it is made of.
        stopped: Whether a stop token came.
        is_done: Whether it ended: at a stop token, or because it is long enough.
    """

    def __init__(self, evaluated: EvaluatedModel, max_bytes: int | None):
        """Sets up a text of nothing.

        Args:
            evaluated: Whose tokens they are, and where its texts stop.
            max_bytes: How long it may become; None for no limit.
        """
        self._surfaces, self._stops = evaluated.view.token_bytes, frozenset(evaluated.stop_ids)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._left = max_bytes
        self.num_tokens = 0
        self.stopped = self._is_cut = False

    @property
    def is_done(self) -> bool:
        """Whether nothing may follow."""
        return self.stopped or self._left == 0

    def add(self, index: int) -> str:
        """The text that one more token makes certain.

        Args:
            index: The token. A special token that is no stop counts, and spells nothing.

        Returns:
            Whole characters; none while bytes of one are missing.
        """
        if index in self._stops:
            self.stopped = True
            return ""
        self.num_tokens += 1
        surface = bytes(self._surfaces[index] or b"") if index < len(self._surfaces) else b""
        if self._left is not None:
            self._is_cut = len(surface) >= self._left
            surface = surface[: self._left]
            self._left -= len(surface)
        return self._decoder.decode(surface)

    def end(self) -> str:
        """What is left at the end: U+FFFD for half a character, unless the length cut it."""
        return "" if self._is_cut else self._decoder.decode(b"", final=True)
