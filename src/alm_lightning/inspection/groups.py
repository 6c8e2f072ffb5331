"""The tokens of an aligned text, in groups to draw."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
from jaxtyping import Int

from alm_lightning.alignment.aligned import AlignedText
from alm_lightning.show.chunks import Group, Token
from alm_lightning.show.visible import visible
from alm_lightning.tokenization.view import TokenizerView

Place = tuple[int, int, int]
"""Numbers of the student's token, of the teacher's token, and of the content byte."""


class TokenReader:
    """What to show of the tokens that a tokenizer has for a text."""

    def __init__(self, name: str, view: TokenizerView, ids: Int[np.ndarray, " token"]):
        self.name = name
        self._view = view
        self._ids = ids
        self._special_names = {index: content for content, index in view.special_ids.items()}

    def tokens(self, start: int, end: int) -> tuple[Token, ...]:
        """The tokens of a range."""
        return tuple(map(self._token, self._ids[start:end].tolist()))

    def _token(self, index: int) -> Token:
        raw = self._view.token_bytes[index]
        if raw is None:
            name = self._special_names.get(index, f"id {index}")
            return Token(index, visible(name.encode("utf-8")), is_special=True)
        return Token(index, visible(raw), is_special=False)

    def spells(self, tokens: tuple[Token, ...], content: bytes) -> bool:
        """Whether tokens spell a content as it is; a dummy space before it does not count."""
        spelled = b"".join(self._view.token_bytes[token.id] or b"" for token in tokens)
        return spelled in (content, b" " + content)

    def has_unknown(self, tokens: tuple[Token, ...], *, is_chat: bool) -> bool:
        """Whether one of these tokens stands for text that has no token."""
        # a text has no structure of its own: what stands for no bytes there is an unknown token
        unknown_id = self._view.hf.unk_token_id
        return any(t.is_special and (not is_chat or t.id == unknown_id) for t in tokens)


Readers = tuple[TokenReader, TokenReader]


def groups(
    aligned: AlignedText, *, student: TokenizerView, teacher: TokenizerView, most: int
) -> Iterator[Group]:
    """Chunks, at most `most`, and the tokens between them, in the order of the text."""
    readers = (
        TokenReader("student", student, aligned.student_ids),
        TokenReader("teacher", teacher, aligned.teacher_ids),
    )
    at: Place = (0, 0, 0)
    for chunk, (s_start, s_end, t_start, t_end) in enumerate(islice(aligned.chunks, most)):
        start, end = int(aligned.chunk_starts[chunk]), int(aligned.chunk_ends[chunk])
        yield from _between(aligned, readers, chunk, at, (s_start, t_start, start))
        at = (s_end, t_end, end)
        content = aligned.chunk_bytes(chunk)
        is_structure = bool(aligned.is_structure[chunk])
        tokens = readers[0].tokens(s_start, s_end), readers[1].tokens(t_start, t_end)
        respelled = (
            reader.name
            for reader, own in zip(readers, tokens, strict=True)
            if not is_structure and not reader.spells(own, content)
        )
        yield Group(
            chunk,
            start,
            content,
            *tokens,
            is_structure=is_structure,
            is_trained=bool(aligned.trained[chunk]),
            respelled=tuple(respelled),
        )
    if aligned.num_chunks <= most:
        end_of_all = len(aligned.student_ids), len(aligned.teacher_ids), len(aligned.content)
        yield from _between(aligned, readers, aligned.num_chunks, at, end_of_all)


def _between(
    aligned: AlignedText, readers: Readers, number: int, start: Place, end: Place
) -> Iterator[Group]:
    """The tokens between two chunks, or bytes there that no token stands for."""
    tokens = readers[0].tokens(start[0], end[0]), readers[1].tokens(start[1], end[1])
    content = aligned.content[start[2] : end[2]]
    if not any(tokens) and not content:
        return
    is_chat = aligned.is_chat
    reasons = []
    if any(r.has_unknown(own, is_chat=is_chat) for r, own in zip(readers, tokens, strict=True)):
        reasons.append("unknown")
    if end[2] == len(aligned.content) and content and aligned.outside_bytes["tail"]:
        reasons.append("tail")
    if not reasons:
        reasons.append("structure" if content else "lone" if is_chat else "tail")
    yield Group(
        number,
        start[2],
        content,
        *tokens,
        is_structure=is_chat and not content,
        is_trained=False,
        reasons=tuple(reasons),
    )
