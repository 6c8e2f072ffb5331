import pytest

from alm_lightning.corpus.document import CorpusError, Document, decode


def test_text_stays_as_it_is():
    text = "  é e\u0301\r\n\U0001f468\u200d\U0001f469 \x00 "
    assert Document(text, "here").text == text


@pytest.mark.parametrize(("text", "position"), [("\ud83d", 0), ("ab\udc80c", 2), ("é\ud83d x", 1)])
def test_a_lone_surrogate_is_named_with_document_and_position(text, position):
    with pytest.raises(CorpusError, match=rf"notes.jsonl:3.*surrogate.*at character {position},"):
        Document(text, "notes.jsonl:3")


@pytest.mark.parametrize("value", [None, 3, b"bytes", ["text"], {"text": "x"}])
def test_other_values_than_text_are_named(value):
    with pytest.raises(CorpusError, match=rf"rows:7: expected text.*{type(value).__name__}"):
        Document.of(value, "rows:7")


@pytest.mark.parametrize(("text", "blank"), [("", True), (" \n\t\u3000", True), (" a ", False)])
def test_blank(text, blank):
    assert Document(text, "here").is_blank is blank


def test_decoding_names_the_byte():
    with pytest.raises(CorpusError, match=r"latin.txt: not UTF-8: byte 0xe9 at position 3"):
        decode("caf\u00e9".encode("latin-1"), "latin.txt")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_decoding_says_what_to_convert_from(encoding):
    expected = "LATIN1" if encoding == "latin-1" else "UTF-16"
    with pytest.raises(CorpusError, match=f"`iconv -f {expected} -t UTF-8`"):
        decode("caf\u00e9".encode(encoding), "notepad.txt")


def test_decoding_drops_a_byte_order_mark_and_keeps_line_ends():
    assert decode(b"\xef\xbb\xbfa\r\nb\r", "here") == "a\r\nb\r"
