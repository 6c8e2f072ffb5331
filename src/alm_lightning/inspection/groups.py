"""The tokens of an aligned text, walked through in groups to draw."""

from collections.abc import Iterator
from itertools import islice

from alm_lightning.alignment.aligned import AlignedText
from alm_lightning.show.chunks import Group, Token
from alm_lightning.show.visible import visible
from alm_lightning.tokenization.view import TokenizerView


class Side:
    """A tokenizer, and what to show of its ids."""

    def __init__(self, view: TokenizerView):
        self._view = view
        self._names = {index: content for content, index in view.special_ids.items()}
        self._unknown_id = view.hf.unk_token_id

    def token(self, index: int) -> Token:
        """The token of an id."""
        raw = self._view.token_bytes[index]
        if raw is None:
            name = self._names.get(index, f"id {index}")
            return Token(index, visible(name.encode("utf-8")), is_special=True)
        return Token(index, visible(raw), is_special=False)

    def spells(self, tokens: tuple[Token, ...], content: bytes) -> bool:
        """Whether tokens spell a content as it is; a dummy space before it does not count."""
        spelled = b"".join(self._view.token_bytes[token.id] or b"" for token in tokens)
        return spelled in (content, b" " + content)

    def has_unknown(self, tokens: tuple[Token, ...], *, is_chat: bool) -> bool:
        """Whether one of these tokens stands for text that has no token."""
        # a text has no structure of its own: what stands for no bytes there is an unknown token
        return any(t.is_special and (not is_chat or t.id == self._unknown_id) for t in tokens)


def groups(
    aligned: AlignedText, *, student: TokenizerView, teacher: TokenizerView, most: int
) -> Iterator[Group]:
    """Chunks and the tokens between them, in the order of the text.

    Args:
        aligned: The text under both tokenizers.
        student: The student's tokenizer.
        teacher: The teacher's tokenizer.
        most: Largest number of chunks; what comes after them is left out.

    Yields:
        Groups. All tokens before the last of them are in one of them.
    """
    sides = Side(student), Side(teacher)
    student_at = teacher_at = byte_at = 0
    for chunk, (s_start, s_end, t_start, t_end) in enumerate(islice(aligned.chunks, most)):
        start = int(aligned.chunk_starts[chunk])
        yield from _between(
            aligned, sides, chunk, (student_at, s_start), (teacher_at, t_start), (byte_at, start)
        )
        tokens = _tokens(aligned, sides, (s_start, s_end), (t_start, t_end))
        content = aligned.chunk_bytes(chunk)
        is_structure = bool(aligned.is_structure[chunk])
        spelled = [
            is_structure or side.spells(found, content)
            for side, found in zip(sides, tokens, strict=True)
        ]
        yield Group(
            chunk,
            start,
            content,
            *tokens,
            is_structure=is_structure,
            is_trained=bool(aligned.trained[chunk]),
            respelled=tuple(
                name
                for name, is_same in zip(("student", "teacher"), spelled, strict=True)
                if not is_same
            ),
        )
        student_at, teacher_at, byte_at = s_end, t_end, start + len(content)
    if aligned.num_chunks <= most:
        yield from _between(
            aligned,
            sides,
            aligned.num_chunks,
            (student_at, len(aligned.student_ids)),
            (teacher_at, len(aligned.teacher_ids)),
            (byte_at, len(aligned.content)),
        )


def _tokens(
    aligned: AlignedText,
    sides: tuple[Side, Side],
    student_range: tuple[int, int],
    teacher_range: tuple[int, int],
) -> tuple[tuple[Token, ...], tuple[Token, ...]]:
    student_ids = aligned.student_ids[slice(*student_range)].tolist()
    teacher_ids = aligned.teacher_ids[slice(*teacher_range)].tolist()
    student, teacher = sides
    return tuple(map(student.token, student_ids)), tuple(map(teacher.token, teacher_ids))


def _between(
    aligned: AlignedText,
    sides: tuple[Side, Side],
    number: int,
    student_range: tuple[int, int],
    teacher_range: tuple[int, int],
    byte_range: tuple[int, int],
) -> Iterator[Group]:
    """The tokens between two chunks, or bytes there that no token stands for."""
    tokens = _tokens(aligned, sides, student_range, teacher_range)
    content = aligned.content[slice(*byte_range)]
    if not any(tokens) and not content:
        return
    is_chat = aligned.is_chat
    reasons = []
    if any(s.has_unknown(t, is_chat=is_chat) for s, t in zip(sides, tokens, strict=True)):
        reasons.append("unknown")
    if byte_range[1] == len(aligned.content) and content and aligned.outside_bytes["tail"]:
        reasons.append("tail")
    if not reasons:
        reasons.append("structure" if content else "lone" if is_chat else "tail")
    yield Group(
        number,
        byte_range[0],
        content,
        *tokens,
        is_structure=is_chat and not content,
        is_trained=False,
        reasons=tuple(reasons),
    )
