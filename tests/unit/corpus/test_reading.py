import pytest

from alm_lightning.corpus.bad_documents import Refuse, Skip
from alm_lightning.corpus.chat import Chat, Message
from alm_lightning.corpus.document import CorpusError, Document
from alm_lightning.corpus.document_store import InMemory
from alm_lightning.corpus.heldout import split_documents
from alm_lightning.corpus.reading import Stored, Streamed
from alm_lightning.corpus.sources.columns import PlainText, QuestionAnswer
from alm_lightning.corpus.sources.files import JsonLines

NUMBER = 300


@pytest.fixture
def source(tmp_path):
    lines = [f'{{"text": "text {number}"}}' for number in range(NUMBER)]
    lines[7] = "broken"
    lines[9] = '{"text": " "}'
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return JsonLines(path=str(tmp_path / "a.jsonl"), column="text", reader=PlainText())


def split(way, source, on_bad=None, share=0.2, split_by="document"):
    settings = {"heldout_share": share, "split_by": split_by, "seed": 4}
    return way.split(source, on_bad=on_bad or Skip(), **settings)


def test_a_stream_holds_out_what_a_stored_corpus_does(source):
    stored = split(Stored(store=InMemory()), source)
    streamed = split(Streamed(heldout_documents=NUMBER), source)
    assert {d.name for d in streamed.train} == {d.name for d in stored.train}
    assert {d.name for d in streamed.heldout} == {d.name for d in stored.heldout}
    # in the order of the file
    numbers = [int(document.name.partition(":")[2]) for document in streamed.train]
    assert numbers == sorted(numbers)
    assert list(streamed.train) == list(streamed.train)
    assert streamed.num_blank == stored.num_blank == 1
    assert f"{NUMBER - 2} documents read of a stream; held out" in streamed.summary()


def test_only_the_front_is_read_beforehand(source):
    streamed = split(Streamed(heldout_documents=5), source)
    every = split(Streamed(heldout_documents=NUMBER), source)
    assert streamed.heldout == every.heldout[:5]
    # what is held out and not measured on is not trained on either
    assert list(streamed.train) == list(every.train)


def test_bad_documents_of_a_stream(source):
    skip = Skip()
    streamed = split(Streamed(heldout_documents=NUMBER), source, skip)
    assert list(streamed.train)
    assert skip.counts() == {"not JSON": 1}
    with pytest.raises(CorpusError, match=r"a\.jsonl:8: not JSON"):
        split(Streamed(heldout_documents=NUMBER), source, Refuse())


def test_a_stream_knows_what_it_has_read(source):
    streamed = split(Streamed(heldout_documents=NUMBER), source)
    assert streamed.trains_on(next(iter(streamed.train)))
    assert not streamed.trains_on(streamed.heldout[0])
    assert not streamed.trains_on(Document("another text", name="x"))


@pytest.mark.parametrize("share", [1e-9, 1 - 1e-9])
def test_a_stream_with_nothing_on_one_side(source, share):
    with pytest.raises(CorpusError, match="expected at least one on each side"):
        split(Streamed(heldout_documents=5), source, share=share)


def test_the_former_name_of_the_store_is_refused_with_the_new_one():
    with pytest.raises(ValueError, match=r"is called store now: give windows\.documents\.store"):
        Stored(store=InMemory(), shelf={"folder": "x"})


def test_settings_without_sense(source):
    with pytest.raises(ValueError, match="heldout_documents is 0"):
        Streamed(heldout_documents=0)
    with pytest.raises(ValueError, match="heldout_share is 0"):
        split(Streamed(heldout_documents=1), source, share=0.0)
    for way in (Streamed(heldout_documents=1), Stored(store=InMemory())):
        with pytest.raises(
            ValueError, match="split_by is 'answer'; expected one of document, question"
        ):
            split(way, source, split_by="answer")


def test_stored_is_the_split_of_all_documents(source):
    skip = Skip()
    expected = split_documents(source.documents(skip), heldout_share=0.2, seed=4)
    assert split(Stored(store=InMemory()), source) == expected


def test_answers_to_one_question_lie_on_one_side(tmp_path):
    rows = [f'{{"question": "{n % 40}?", "answer": "answer {n}"}}' for n in range(120)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows), encoding="utf-8")
    source = JsonLines(
        path=str(tmp_path / "a.jsonl"), column=["question", "answer"], reader=QuestionAnswer()
    )
    for way in (Stored(store=InMemory()), Streamed(heldout_documents=NUMBER)):
        found = split(way, source, split_by="question")
        train, heldout = (
            {chat.messages[0].content for chat in side} for side in (found.train, found.heldout)
        )
        assert not train & heldout
        assert len(train | heldout) == 40
        assert len(list(found.train)) == 3 * len(train)
        assert len(found.heldout) == 3 * len(heldout)
        # another answer to a question that is trained on is no text of another domain
        first = next(iter(found.train)).messages[0]
        assert found.trains_on(Chat((first, Message("assistant", "another")), name="x"))
        whole = split(way, source)
        sides = [{chat.messages[0].content for chat in s} for s in (whole.train, whole.heldout)]
        assert sides[0] & sides[1]
