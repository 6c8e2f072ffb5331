import pytest

from alm_lightning.corpus.chat import Chat, Message
from alm_lightning.corpus.columns import Messages, PlainText, check_column
from alm_lightning.corpus.document import BadDocument, CorpusError


def test_plain_text():
    document = PlainText()("text", "rows:1")
    assert (document.text, document.name) == ("text", "rows:1")
    with pytest.raises(BadDocument, match=r"rows:2: expected text \(str\), found list"):
        PlainText()([], "rows:2")


def test_messages_are_a_chat():
    rows = [{"role": "system", "content": "S"}, {"role": "user", "content": "U\n"}]
    chat = Messages()(rows, "rows:1")
    assert chat == Chat((Message("system", "S"), Message("user", "U\n")), "rows:1")


def test_a_column_that_holds_no_chat_is_refused():
    with pytest.raises(BadDocument, match="rows:1: expected a list of messages, found str"):
        Messages()("a string", "rows:1")


def test_an_unknown_column_names_those_that_exist():
    with pytest.raises(CorpusError, match=r"no column 'text'.*body, id"):
        check_column("text", ["id", "body"], "data.parquet")
