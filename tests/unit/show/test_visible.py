import pytest

from alm_lightning.show.visible import Piece, visible


def shown(raw):
    return "".join(piece.text for piece in visible(raw))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" a\tb\r\n", "·a→b␍↵"),
        ("日本", "日本"),
        ("\u200d", "\\u200d"),
        ("\u202eabc", "\\u202eabc"),
        ("\u00a0", "\\u00a0"),
        ("\x00\x1b[31m", "\\u0000\\u001b[31m"),
        ("\u0301", "◌\u0301"),
        ("e\u0301", "e\u0301"),
        ("\ufe0f", "\\ufe0f"),
        ("☀\ufe0f", "☀\ufe0f"),
        ("\U000e0001", "\\U000e0001"),
        ("", "∅"),
    ],
)
def test_characters(text, expected):
    assert shown(text.encode()) == expected


def test_cut_characters_are_bytes_and_whole_ones_stay():
    assert shown("€".encode()[:2]) == "\\xe2\\x82"
    assert shown("é€".encode()[1:]) == "\\xa9€"
    assert shown(b"\xff") == "\\xff"
    # a surrogate spelled in three bytes is no character of UTF-8
    assert shown(b"\xed\xb2\x80") == "\\xed\\xb2\\x80"


def test_a_sign_is_told_from_the_same_letter():
    assert visible(" ·".encode()) == (Piece("·", is_mark=True), Piece("·", is_mark=False))
    assert visible(b"\\xff\xff") == (Piece("\\xff", is_mark=False), Piece("\\xff", is_mark=True))


def test_nothing_in_sight_can_turn_or_hide_text():
    everything = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x3000 * 16)]))
    assert not [hex(ord(sign)) for sign in shown(everything.encode()) if not sign.isprintable()]
