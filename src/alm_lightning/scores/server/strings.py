"""Tokens as endpoints write them: by their text, which several tokens may share."""

from collections.abc import Sequence

from alm_lightning.scores.server.answers import UNKNOWN, Alternative
from alm_lightning.tokenization.view import TokenizerView

TOKEN_ID = "token_id:"
"""What vLLM writes before an id, where it is asked for ids in place of texts."""

REPLACEMENT = "\ufffd"
"""What stands for bytes that are no characters; other servers leave them out."""


class TokenStrings:
    """The tokens of a vocabulary by their texts.

    Args:
        view: The teacher's tokenizer.
    """

    def __init__(self, view: TokenizerView) -> None:
        self._view = view
        self._boundary_ids = frozenset(view.boundary_ids.tolist())
        self._special_texts = {id_: text for text, id_ in view.special_ids.items()}
        ids: dict[str, list[int]] = {}
        for id_ in range(view.num_tokens):
            for text in self._texts(id_):
                ids.setdefault(text, []).append(id_)
        self._ids = {text: found[0] for text, found in ids.items() if len(found) == 1}
        self._kinds = {text: self._kind(found) for text, found in ids.items()}

    def is_boundary(self, id_: int) -> bool:
        """Whether a token is a boundary token."""
        return id_ in self._boundary_ids

    def alternative(self, text: str, logprob: float) -> Alternative | None:
        """The token that an endpoint means; None where that leaves open if it is a boundary."""
        if text.startswith(TOKEN_ID):
            id_ = int(text[len(TOKEN_ID) :])
            return Alternative(id_, logprob, self.is_boundary(id_))
        text = text.replace(REPLACEMENT, "")
        kind = self._kinds.get(text)
        if kind is None:
            return None
        return Alternative(self._ids.get(text, UNKNOWN), logprob, kind)

    def fits(self, id_: int, text: str) -> bool:
        """Whether an endpoint may mean this token by a text."""
        if text.startswith(TOKEN_ID):
            return text == f"{TOKEN_ID}{id_}"
        text = text.replace(REPLACEMENT, "")
        # the first space is left out by some, where a sequence starts
        return any(text in (own, own.removeprefix(" ")) for own in self._texts(id_))

    def prompt(self, ids: Sequence[int]) -> str:
        """The text that stands for a sequence; a ValueError where its bytes are no text."""
        return self._spelled(ids).decode("utf-8")

    def shown(self, ids: Sequence[int]) -> list[str]:
        """The texts of some tokens, for an error."""
        return [self._spelled([id_]).decode("utf-8", errors="replace") for id_ in ids]

    def other_special(self, start_id: int) -> int | None:
        """A special token that starts no sequence; None where there is none."""
        others = sorted(id_ for id_ in self._special_texts if id_ != start_id)
        return others[0] if others else None

    def _spelled(self, ids: Sequence[int]) -> bytes:
        token_bytes = self._view.token_bytes
        return b"".join(
            token_bytes[id_] or self._special_texts.get(id_, "").encode("utf-8") for id_ in ids
        )

    def _texts(self, id_: int) -> tuple[str, ...]:
        content = self._view.token_bytes[id_]
        if content is not None:
            return (content.decode("utf-8", errors="ignore"),)
        # a special token is shown by some and left out by others
        return (self._special_texts[id_], "") if id_ in self._special_texts else ()

    def _kind(self, ids: list[int]) -> bool | None:
        kinds = {self.is_boundary(id_) for id_ in ids}
        return kinds.pop() if len(kinds) == 1 else None
