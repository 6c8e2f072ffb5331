import pytest

from alm_lightning.corpus.bad_documents import KINDS
from alm_lightning.corpus.chat import Chat, Message
from alm_lightning.corpus.document import BadDocument, CorpusError
from alm_lightning.corpus.sources.columns import (
    Messages,
    PlainText,
    QuestionAnswer,
    check_column,
    value_of,
)


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


def test_a_question_and_its_answer_are_a_chat_in_the_order_of_the_columns():
    row = {"answer": "2", "source": "mine", "question": "1 + 1?"}
    chat = QuestionAnswer()(value_of(row, ["question", "answer"]), "rows:1")
    assert [(m.role, m.content) for m in chat.messages] == [("user", "1 + 1?"), ("assistant", "2")]


@pytest.mark.parametrize("column", ["question", ["question"], ["question", "answer", "source"]])
def test_one_column_or_three_are_no_question_and_answer(column):
    row = {"question": "1 + 1?", "answer": "2", "source": "mine"}
    message = r"column=\['question', 'answer'\], or corpus\.source\.column=\[question,answer\]"
    with pytest.raises(BadDocument, match=rf"rows:1: .*{message}") as caught:
        QuestionAnswer()(value_of(row, column), "rows:1")
    # one that Skip can count
    assert caught.value.kind in KINDS


def test_an_answer_that_is_not_text_is_named_with_its_message():
    with pytest.raises(BadDocument, match=r"rows:1, message 1: the content is a int"):
        QuestionAnswer()({"question": "1 + 1?", "answer": 2}, "rows:1")
