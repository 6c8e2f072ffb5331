import random
from itertools import pairwise

import pytest

from alm_lightning.corpus.chat import Chat, Message
from alm_lightning.corpus.document import CorpusError, Document
from alm_lightning.corpus.heldout import split_documents


def corpus(count, prefix="text"):
    return [Document(f"{prefix} {number}", name=f"rows:{number}") for number in range(count)]


def test_every_document_is_on_one_side():
    documents = corpus(1000)
    split = split_documents(documents, heldout_share=0.1, seed=0)
    both = {document.name for document in split.train + split.heldout}
    assert both == {document.name for document in documents}
    assert len(split.train) + len(split.heldout) == 1000
    # three standard deviations of a binomial are 28
    assert 70 < len(split.heldout) < 130


def test_the_order_of_reading_does_not_matter():
    documents = [*corpus(200), Document("text 3", name="copy")]
    shuffled = random.Random(0).sample(documents, len(documents))
    one = split_documents(documents, heldout_share=0.2, seed=5)
    assert one == split_documents(iter(shuffled), heldout_share=0.2, seed=5)


def test_sides_are_kept_when_the_corpus_grows():
    small = split_documents(corpus(300), heldout_share=0.2, seed=5)
    large = split_documents(corpus(300) + corpus(300, "more"), heldout_share=0.2, seed=5)
    assert {document.name for document in small.heldout} <= {d.name for d in large.heldout}


def test_seeds_differ():
    one, other = (split_documents(corpus(200), heldout_share=0.2, seed=seed) for seed in (1, 2))
    assert one.heldout != other.heldout


def test_copies_lie_on_one_side():
    documents = [Document(f"text {n % 7}", name=str(n)) for n in range(70)]
    split = split_documents(documents, heldout_share=0.5, seed=1)
    train_texts = {document.text for document in split.train}
    assert train_texts.isdisjoint(document.text for document in split.heldout)
    assert len(split.train) + len(split.heldout) == 70


@pytest.mark.parametrize("share", [1e-9, 1 - 1e-9])
def test_each_side_gets_at_least_one(share):
    split = split_documents(corpus(5), heldout_share=share, seed=0)
    assert min(len(split.train), len(split.heldout)) == 1


def test_blank_documents_are_dropped_and_counted():
    documents = [*corpus(10), Document(" \n", name="blank"), Document("", name="empty")]
    split = split_documents(documents, heldout_share=0.3, seed=0)
    assert split.num_blank == 2
    assert len(split.train) + len(split.heldout) == 10
    assert "left out 2 blank" in split.summary()


def test_summary_counts_documents_and_characters():
    split = split_documents(corpus(2), heldout_share=0.5, seed=0)
    side = "1 documents (6 characters)"
    assert split.summary() == f"train: {side}; held out: {side}"


@pytest.mark.parametrize(
    ("documents", "numbers"),
    [
        ([], "has 0 documents, 0 of them not blank, with 0 different"),
        (corpus(1), "has 1 documents, 1 of them not blank, with 1 different"),
        (corpus(1) * 3 + [Document("", "blank")], "has 4 documents, 3 of them not blank, with 1"),
    ],
)
def test_too_few_texts(documents, numbers):
    with pytest.raises(CorpusError, match=numbers):
        split_documents(documents, heldout_share=0.5, seed=0)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_outside_is_refused(share):
    with pytest.raises(ValueError, match=r"heldout_share"):
        split_documents(corpus(3), heldout_share=share, seed=0)


def chats(systems):
    """Three answers to each of forty questions, after a system message each or none."""
    return [
        Chat((*system, Message("user", f"{n % 40}?"), Message("assistant", f"{n}")), name=f"c:{n}")
        for n in range(120)
        for system in systems
    ]


def asked(side):
    return {next(m.content for m in chat.messages if m.role == "user") for chat in side}


def test_chats_of_one_question_lie_on_one_side():
    systems = [(), (Message("system", "Be brief."),)]
    split = split_documents(chats(systems), heldout_share=0.3, split_by="question", seed=0)
    assert not asked(split.train) & asked(split.heldout)
    assert len(split.train) + len(split.heldout) == 240
    assert 0.1 < len(split.heldout) / 240 < 0.5
    assert all(split.trains_on(chat) for chat in split.train)
    assert not any(split.trains_on(chat) for chat in split.heldout)
    # as if shuffled: answers to one question do not follow one another
    order = [chat.messages[-2].content for chat in split.train]
    assert sum(one == other for one, other in pairwise(order)) < len(order) / 3
    whole = split_documents(chats(systems), heldout_share=0.3, seed=0)
    assert asked(whole.train) & asked(whole.heldout)


def test_a_text_has_no_question_and_counts_as_a_whole():
    documents = [*corpus(50), Chat((Message("assistant", "text 3"),), name="c:1")]
    by_question = split_documents(documents, heldout_share=0.2, split_by="question", seed=5)
    by_document = split_documents(documents, heldout_share=0.2, seed=5)
    assert by_question.train == by_document.train
    assert by_question.heldout == by_document.heldout


def test_one_question_alone_can_not_be_split():
    alike = [Chat((Message("user", "1?"), Message("assistant", f"{n}")), f"{n}") for n in range(9)]
    with pytest.raises(CorpusError, match=r"with 1 different texts to split by \(question\)"):
        split_documents(alike, heldout_share=0.5, split_by="question", seed=0)
    with pytest.raises(ValueError, match="split_by is 'chat'; expected one of document, question"):
        split_documents(alike, heldout_share=0.5, split_by="chat", seed=0)
