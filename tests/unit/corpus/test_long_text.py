"""A corpus that is one long text."""

import random

import pytest

from alm_lightning.corpus.chat import Chat
from alm_lightning.corpus.document import CorpusError, Document
from alm_lightning.corpus.document_store import OnDisk
from alm_lightning.corpus.heldout import split_documents
from alm_lightning.corpus.long_text import PIECE_CHARACTERS, cut_off_end


def book(num_sentences=2000, seed=0, mark=". "):
    """A text in which no sentence occurs twice."""
    words = random.Random(seed)
    return mark.join(f"Sentence {n} of {words.getrandbits(40)}" for n in range(num_sentences))


@pytest.mark.parametrize("mark", [". ", ".\n", ".\n\n", ".\r\n\r\n", ".", "。"])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.99])
def test_the_end_is_held_out_after_a_gap(mark, share):
    text = book(mark=mark)
    train, heldout = cut_off_end(Document(text, name="book.txt:1"), heldout_share=share)
    trained, ended = "".join(d.text for d in train), "".join(d.text for d in heldout)
    assert text.startswith(trained)
    assert text.endswith(ended)
    assert len(ended) / len(text) == pytest.approx(share, rel=0.1, abs=0.01)
    gap = len(text) - len(trained) - len(ended)
    assert gap >= min(200, len(trained))
    assert gap <= 0.02 * len(text) + PIECE_CHARACTERS
    assert all(0 < len(d.text) <= PIECE_CHARACTERS for d in [*train, *heldout])
    for document in [*train, *heldout]:
        start, end = document.name.removeprefix("book.txt:1[").removesuffix("]").split(":")
        assert text[int(start) : int(end)] == document.text


@pytest.mark.parametrize("mark", ["\n", "\n\n", "\r\n\r\n"])
@pytest.mark.parametrize("places", [[0.46], [0.6], [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6]])
@pytest.mark.parametrize("num_sentences", [50, 2000])
def test_a_rare_break_does_not_move_the_cut(mark, places, num_sentences):
    sentences = book(num_sentences).split(". ")
    for place in places:
        sentences[round(place * num_sentences)] += mark
    text = ". ".join(sentences)
    train, heldout = cut_off_end(Document(text, name="b"), heldout_share=0.1)
    trained, ended = (sum(len(d.text) for d in side) for side in (train, heldout))
    assert ended / len(text) == pytest.approx(0.1, abs=0.051)
    assert len(text) - trained - ended <= 200 + 0.06 * len(text)


def test_pieces_end_with_paragraphs_and_sentences():
    train, _ = cut_off_end(Document(book(mark=".\n\n"), name="b"), heldout_share=0.1)
    assert all(piece.text.endswith(".\n\n") for piece in train)
    train, _ = cut_off_end(Document(book(mark=". "), name="b"), heldout_share=0.1)
    assert all(piece.text.endswith(". ") for piece in train)


@pytest.mark.parametrize("on_disk", [False, True])
def test_one_text_trains(tmp_path, on_disk):
    store = OnDisk(folder=str(tmp_path)) if on_disk else None
    document = Document(book(), name="book.txt:1", group="en")
    split = split_documents([document], heldout_share=0.1, seed=0, store=store)
    starts = [int(d.name.partition("[")[2].partition(":")[0]) for d in split.train]
    # as if shuffled, and another seed shuffles otherwise
    assert starts != sorted(starts)
    assert {d.text for d in split.train}.isdisjoint(d.text for d in split.heldout)
    assert len(split.heldout) >= 2
    assert min(len(d.text) for d in split.heldout) > 0
    again = split_documents([document], heldout_share=0.1, seed=1)
    assert {d.text for d in again.heldout} == {d.text for d in split.heldout}
    assert [d.text for d in again.train] != [d.text for d in split.train]
    assert all(split.trains_on(d) for d in split.train)
    # nobody may take the whole for text that is not trained on
    assert split.trains_on(document)
    assert not any(split.trains_on(d) for d in split.heldout)


def test_short_texts_beside_a_long_one_are_split_as_ever():
    title, end = Document("A book", name="book.txt:1"), Document("The end", name="book.txt:9")
    documents = [title, Document(book(), name="book.txt:3"), end]
    split = split_documents(documents, heldout_share=0.1, seed=0)
    sides = [{d.text for d in side} for side in (split.train, split.heldout)]
    for short in (title, end):
        assert sum(short.text in side for side in sides) == 1
    sizes = [sum(map(len, side)) for side in sides]
    assert sizes[1] / sum(sizes) == pytest.approx(0.1, abs=0.01)


def test_copies_of_a_long_text_are_one():
    documents = [Document(book(), name=str(n)) for n in range(3)]
    split = split_documents(documents, heldout_share=0.1, seed=0)
    alone = split_documents(documents[:1], heldout_share=0.1, seed=0)
    assert split == alone


def test_a_text_that_is_half_of_its_corpus_is_a_document_like_any_other():
    texts = book(), book().replace("Sentence", "Sequence")
    documents = [Document(text, name=text[:8]) for text in texts]
    split = split_documents(documents, heldout_share=0.1, seed=0)
    assert (len(split.train), len(split.heldout)) == (1, 1)


def test_a_text_that_repeats_itself_is_refused():
    text = ("x" * (PIECE_CHARACTERS - 2) + "\n\n") * 40
    with pytest.raises(CorpusError, match="what its end says is in the rest"):
        split_documents([Document(text, name="a")], heldout_share=0.1, seed=0)


@pytest.mark.parametrize("text", ["One text.", "x" * 1999])
def test_a_short_text_is_refused(text):
    with pytest.raises(CorpusError, match=r"1 documents.*or one of at least 2,000 characters"):
        split_documents([Document(text, name="a")], heldout_share=0.1, seed=0)


def test_a_single_chat_is_refused():
    chat = Chat.of([{"role": "user", "content": book()}], name="chats.jsonl:1")
    with pytest.raises(CorpusError, match="Expected at least 2"):
        split_documents([chat], heldout_share=0.1, seed=0)
