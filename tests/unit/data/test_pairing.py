import pytest
from tests.unit.data.orders import make_pairing

from alm_lightning.alignment.chat.messages import align_messages
from alm_lightning.corpus.bad_documents import Skip
from alm_lightning.corpus.chat import Chat
from alm_lightning.corpus.document import BadDocument, Document
from alm_lightning.data.pairing import ChatSettings

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is 2 and 2?"},
    {"role": "assistant", "content": "It is 4."},
]
CHAT = Chat.of(MESSAGES, name="chats:1")
SETTINGS = {
    "trained": "all",
    "system": "merge",
    "student_template": "gemma",
    "teacher_template": "gemma",
}


def pairing(views, on_bad=None, **changes):
    settings = ChatSettings(**SETTINGS | changes)
    # both have Gemma's special tokens
    views = views | {"bytes": views["byte_level"]}
    return make_pairing(views, on_bad, student_length=400, teacher_length=400, chat=settings)


@pytest.mark.parametrize("trained", ["all", "assistant"])
def test_a_chat_is_paired_by_the_settings(views, trained):
    (window,) = pairing(views, trained=trained).windows(CHAT)
    aligned = align_messages(
        CHAT,
        student=views["byte_level"],
        teacher=views["metaspace"],
        **SETTINGS | {"trained": trained},
    )
    assert (window.student.ids == aligned.student_ids).all()
    assert (window.teacher.ids == aligned.teacher_ids).all()
    # the chat closes itself, and brings its own start
    assert not window.ends_document
    spans = (aligned.chunk_ends - aligned.chunk_starts)[aligned.trained]
    assert window.num_bytes == spans.sum() > 0
    assert (window.num_bytes == len("It is 4.")) == (trained == "assistant")


def test_a_chat_that_the_settings_refuse_is_a_bad_document(views):
    with pytest.raises(BadDocument, match=r"chats:1.*system message"):
        pairing(views, system="error").windows(CHAT)
    skip = Skip()
    refusing = pairing(views, skip, system="error")
    assert refusing.windows(CHAT) == []
    assert refusing.first_window(CHAT) is None
    assert sum(skip.counts().values()) == 1


def test_a_chat_with_nothing_that_is_trained_on(views):
    chat = Chat.of(MESSAGES[:2], name="x")
    assert pairing(views, trained="assistant").first_window(chat) is None
    assert pairing(views).first_window(chat) is not None


def test_texts_and_chats_may_be_mixed(views):
    mixed = pairing(views)
    text = mixed.first_window(Document("It is 4.", name="text"))
    spelled = [views["byte_level"].token_bytes[token] for token in text.student.ids.tolist()]
    assert b"".join(spelled) == b"It is 4."
    assert (text.opens, text.ends_document) == (True, True)
    assert len(mixed.first_window(CHAT).student.ids) > len(text.student.ids)


def test_no_more_than_asked_for(views):
    document = Document("one two three four. " * 20, name="x")
    short = make_pairing(views)
    assert len(short.windows(document)) > 2
    assert len(short.windows(document, 2)) == 2


@pytest.mark.parametrize("setting", ["trained", "system"])
def test_settings_that_are_none(views, setting):
    with pytest.raises(ValueError, match=rf"chat\.{setting} is 'both'; expected one of"):
        pairing(views, **{setting: "both"})
