import pytest
from hypothesis import given
from hypothesis import strategies as st

from alm_lightning.corpus.document import Document
from alm_lightning.corpus.pieces import LEAST_BYTES, pieces

TEXTS = st.text(st.sampled_from("ab \n\té日👍"), max_size=60)


@given(text=TEXTS, most=st.integers(LEAST_BYTES, 20))
def test_pieces_are_the_text_and_short_enough(text, most):
    found = pieces(Document(text, name="a"), most)
    assert "".join(piece.text for piece in found) == text
    assert all(len(piece.text.encode()) <= most for piece in found)
    # none is empty, but for the piece of an empty text
    assert len(found) == 1 or all(piece.text for piece in found)


@given(text=TEXTS, most=st.integers(LEAST_BYTES, 20))
def test_each_is_as_long_as_possible(text, most):
    content, start = text.encode(), 0
    found = pieces(Document(text, name="a"), most)
    for piece in found[:-1]:
        stop = start + len(piece.text.encode())
        window = content[start : start + most + 1]
        spaces = b" \t\n\r"
        ends = [
            start + n
            for n in range(1, most + 1)
            if window[n] in spaces and window[n - 1] not in spaces
        ]
        assert stop == max(ends, default=stop)
        start = stop


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [
        ("short", 10, ["short"]),
        ("one two  three", 8, ["one two", "  three"]),
        ("日本語", 4, ["日", "本", "語"]),
        ("abcdefghij", 4, ["abcd", "efgh", "ij"]),
    ],
)
def test_examples(text, most, expected):
    assert [piece.text for piece in pieces(Document(text, name="a"), most)] == expected


def test_names_and_groups():
    first, second = pieces(Document("one two", name="a.txt:1", group="en"), 4)
    assert (first.name, second.name) == ("a.txt:1, bytes 0 to 3", "a.txt:1, bytes 3 to 7")
    assert first.group == second.group == "en"
