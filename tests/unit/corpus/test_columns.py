import pytest

from alm_lightning.corpus.columns import MessagesAsText, PlainText, check_column
from alm_lightning.corpus.document import CorpusError


def test_plain_text():
    assert PlainText()("text", "rows:1").text == "text"


def test_messages_are_joined_by_blank_lines():
    chat = [{"role": "system", "content": "S"}, {"role": "user", "content": "U\n"}]
    document = MessagesAsText()(chat, "rows:1")
    assert document.text == "S\n\nU\n"
    assert document.name == "rows:1"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("a string", "expected a list of messages, found str"),
        (None, "expected a list of messages, found NoneType"),
        ([{"role": "user"}], "message 0 has no content"),
        (["hello"], "message 0 has no content"),
        ([{"content": "x"}, {"content": None}], "message 1: expected text"),
    ],
)
def test_what_is_no_chat_is_refused(value, message):
    with pytest.raises(CorpusError, match=f"rows:1.*{message}"):
        MessagesAsText()(value, "rows:1")


def test_an_unknown_column_names_those_that_exist():
    with pytest.raises(CorpusError, match=r"no column 'text'.*body, id"):
        check_column("text", ["id", "body"], "data.parquet")
