import gzip
import json

import pytest

from alm_lightning.corpus.chat import Message
from alm_lightning.corpus.document import CorpusError
from alm_lightning.inspection.inputs import given_chat, given_text

TURNS = (Message("user", "hi"),)
CHAT = [{"role": "user", "content": "hi"}]


def test_a_file_a_pipe_or_the_text_itself(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_bytes("né\r\n".encode())
    assert given_text(str(file), bytes).text == "né\r\n"
    assert given_text("-", lambda: b"\xef\xbb\xbfx\n").text == "x\n"
    given = given_text("no/such file\nat all", bytes)
    assert (given.text, given.title) == ("no/such file\nat all", "“no/such file at all”")
    # longer than any path may be
    assert given_text("a" * 5000, bytes).text == "a" * 5000


def test_a_text_that_is_not_utf8_is_refused_by_name(tmp_path):
    file = tmp_path / "latin.txt"
    file.write_bytes(b"caf\xe9")
    with pytest.raises(CorpusError, match=r"latin\.txt: not UTF-8: byte 0xe9 at position 3"):
        given_text(str(file), bytes)


@pytest.mark.parametrize("opener", [open, gzip.open])
def test_a_row_of_chats(tmp_path, opener):
    file = tmp_path / ("chats.jsonl.gz" if opener is gzip.open else "chats.jsonl")
    rows = [{"messages": []}, {"messages": CHAT}, CHAT, {"chat": CHAT}]
    with opener(file, "wt", encoding="utf-8") as opened:
        opened.writelines(json.dumps(row) + "\n" for row in rows)
    assert given_chat(str(file), 2, "messages").messages == TURNS
    assert given_chat(str(file), 3, "messages").messages == TURNS
    assert given_chat(str(file), 4, "chat").messages == TURNS
    with pytest.raises(CorpusError, match=r"--row is 5, but .* has 4 lines"):
        given_chat(str(file), 5, "messages")
    with pytest.raises(CorpusError, match=r"no column 'messages'.*exist with --column: chat"):
        given_chat(str(file), 4, "messages")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "not JSON: "),
        (b'"hi"', "expected a list of messages, found str: 'hi'"),
        (b'{"messages": 3}', "expected a list of messages, found int: 3"),
        (b'{"messages": "\xff"}', "not UTF-8"),
    ],
)
def test_bad_rows(tmp_path, line, message):
    file = tmp_path / "bad.jsonl"
    file.write_bytes(line)
    with pytest.raises(CorpusError, match=message):
        given_chat(str(file), 1, "messages")


def test_no_file_no_row(tmp_path):
    with pytest.raises(CorpusError, match="there is no such file"):
        given_chat(str(tmp_path / "none.jsonl"), 1, "messages")
    with pytest.raises(CorpusError, match="rows are counted from 1"):
        given_chat(str(tmp_path), 0, "messages")
    broken = tmp_path / "broken.jsonl.gz"
    broken.write_bytes(gzip.compress(b"{}\n")[:12])
    with pytest.raises(CorpusError, match="damaged or cut off"):
        given_chat(str(broken), 1, "messages")
