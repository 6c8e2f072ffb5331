"""What a student has sampled after a prompt: its own tokens, and the text that they spell."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from alm_lightning.tokenization.view import TokenizerView


@dataclass(frozen=True)
class Answer:
    """Tokens that were sampled, which need not be what a tokenizer would make of their text.

    Attributes:
        ids: The sampled ids, without the one at which the answer stopped.
        stop_id: The id at which it stopped; None for an answer that was cut at its length.
    """

    ids: Int[np.ndarray, " pos"]
    stop_id: int | None

    def usable(self, view: TokenizerView) -> "Answer":
        """The same up to the first token that spells no text, or where UTF-8 is not valid.

        Args:
            view: The student's tokenizer.

        Returns:
            This answer where all of it spells text; else a part of it, which has no end.
        """
        num_ids = len(self.ids)
        is_text = (self.ids < view.num_tokens) & view.table.is_content[
            np.minimum(self.ids, view.num_tokens - 1)
        ]
        kept = num_ids if is_text.all() else int(is_text.argmin())
        spelled = view.table.spelled(self.ids[:kept])
        try:
            spelled.tobytes().decode("utf-8")
        except UnicodeDecodeError as error:
            ends = view.byte_lengths[self.ids[:kept]].cumsum()
            # a token may end within a character that the next one completes
            follows = np.append(spelled, 0)[ends]
            whole = (ends <= error.start) & ((follows & 0xC0 != 0x80) | (ends == error.start))
            kept = int(np.flatnonzero(whole)[-1]) + 1 if whole.any() else 0
        if kept == num_ids:
            return self
        return replace(self, ids=self.ids[:kept], stop_id=None)

    def text(self, view: TokenizerView) -> str:
        """The text of a usable answer."""
        return view.table.spelled(self.ids).tobytes().decode("utf-8")
