"""From token ids to text, one at a time: whole characters only, up to a stop or a length."""

import codecs
from collections.abc import Sequence

from alm_lightning.evaluation.evaluated_model import EvaluatedModel


class Spelling:
    """A text that grows token by token.

    Args:
        evaluated: Whose tokens they are, and at which tokens its texts stop.
        max_bytes: The longest text; None for no limit.
        stop_texts: Before the first of these the text ends.

    Attributes:
        spelled: The bytes of all tokens, cut at `max_bytes`.
        num_tokens: Number of tokens, without the stop token.
        num_bytes: Of the text; bytes that are no UTF-8 count as they are.
        is_done: Whether nothing may follow.
    """

    def __init__(
        self, evaluated: EvaluatedModel, max_bytes: int | None, stop_texts: Sequence[str] = ()
    ):
        self._surfaces, self._stop_ids = evaluated.view.token_bytes, frozenset(evaluated.stop_ids)
        self._stop_texts, self._max_bytes = stop_texts, max_bytes
        self._longest_stop = max(map(len, stop_texts), default=0)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._text, self.spelled, self.num_tokens = "", b"", 0
        self._at_stop_token = self._at_stop_text = self._is_cut = False

    @property
    def stopped(self) -> bool:
        """Whether it ended at a stop token or a stop text, and not at its length."""
        return self._at_stop_token or self._at_stop_text

    @property
    def is_done(self) -> bool:
        """Whether nothing may follow."""
        return self.stopped or len(self.spelled) == self._max_bytes

    @property
    def text(self) -> str:
        """All whole characters so far, without a stop text and what follows it."""
        places = [self._text.find(stop) for stop in self._stop_texts if stop in self._text]
        return self._text[: min(places)] if places else self._text

    @property
    def num_bytes(self) -> int:
        """Bytes of the text; those that are no UTF-8 count as they are."""
        return len(self.text.encode()) if self._at_stop_text else len(self.spelled)

    def add(self, index: int) -> str:
        """Adds a token.

        Args:
            index: Its id. A special token that is no stop token counts, and spells nothing.

        Returns:
            The characters that it completes; none while bytes of one are missing.
        """
        if index in self._stop_ids:
            self._at_stop_token = True
            return ""
        self.num_tokens += 1
        surface = bytes(self._surfaces[index] or b"") if index < len(self._surfaces) else b""
        if self._max_bytes is not None:
            left = self._max_bytes - len(self.spelled)
            self._is_cut = len(surface) >= left
            surface = surface[:left]
        self.spelled += surface
        return self._grow(self._decoder.decode(surface))

    def end(self) -> str:
        """The rest of the text: U+FFFD for half a character, nothing if the length cut it."""
        return "" if self._is_cut else self._grow(self._decoder.decode(b"", final=True))

    def _grow(self, piece: str) -> str:
        self._text += piece
        # a stop text that is new ends in this piece
        tail = self._text[-(self._longest_stop + len(piece)) :]
        self._at_stop_text |= any(stop in tail for stop in self._stop_texts)
        return piece
