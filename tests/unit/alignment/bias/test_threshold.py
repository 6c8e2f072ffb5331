import numpy as np
import pytest
from tests.conftest import SENTENCES
from tests.unit.alignment.bias.byte_bpe import bpe

from alm_lightning import align_text
from alm_lightning.alignment.bias.counts import count_documents
from alm_lightning.alignment.bias.statistics import BiasStatistics
from alm_lightning.alignment.bias.threshold import BiasThreshold, LowBias
from alm_lightning.alignment.boundaries import ChunkSelection
from alm_lightning.corpus.chat import Chat, Message
from alm_lightning.corpus.document import Document

DOCUMENTS = [Document(text, str(number)) for number, text in enumerate(SENTENCES)]
PAIRS = [("bytes", "metaspace"), ("byte_level", "metaspace"), ("metaspace", "byte_level")]


def threshold(folder, value, **changes):
    settings = {"max_documents": None, "workers": 0, "cache_folder": str(folder)} | changes
    return BiasThreshold(threshold=value, **settings)


@pytest.fixture
def numbers(tmp_path):
    """A pair of which one splits numbers: after (' 12', '2') a '2' is excluded by a quarter."""
    views = {"student": bpe("Ġ 1", "Ġ1 2", "Ġ12 2"), "teacher": bpe()}
    documents = [Document("x 122", "0"), Document("x 12", "1")]
    return views, documents, tmp_path


@pytest.mark.parametrize(
    ("value", "chunks"), [(0.25, [b"x", b" 12", b"3"]), (0.2, [b"x", b" 123"]), (1.0, None)]
)
def test_ends_above_the_threshold_are_merged(numbers, value, chunks):
    views, documents, folder = numbers
    documents.append(Document("123", "2"))
    # tokens x, ' 122', x, ' 12', '1', '2', '3': ' 122' is one of seven
    value = value * 4 / 7 if value < 1 else value
    fitted = threshold(folder, value).fitted(**views, documents=documents)
    # a float32 of the bias may be a hair above the threshold
    fitted = LowBias(fitted.statistics, threshold=min(value * (1 + 1e-6), 1.0))
    aligned = align_text("x 123", **views, alignment=fitted)
    found = [aligned.chunk_bytes(i) for i in range(aligned.num_chunks)]
    assert found == (chunks or [b"x", b" 12", b"3"])


def test_a_pair_without_statistics_is_merged(numbers):
    views, documents, folder = numbers
    fitted = threshold(folder, 0.5).fitted(**views, documents=documents)
    aligned = align_text("xyx", **views, alignment=fitted)
    assert [aligned.chunk_bytes(i) for i in range(aligned.num_chunks)] == [b"x", b"yx"]
    ids = [np.array([view.token_bytes.index(s) for s in (b"x", b"y")]) for view in views.values()]
    assert fitted.statistics.bias_of(*ids).tolist() == [0.0, 1.0]


def test_of_a_text_all_pairs_without_statistics_are_merged(numbers):
    views, documents, folder = numbers
    for value, expected in ((0.5, [b"x", b"yx", b"z"]), (1.0, [b"x", b"y", b"x", b"z"])):
        fitted = threshold(folder, value).fitted(**views, documents=documents)
        aligned = align_text("xyxz", **views, alignment=fitted)
        assert [aligned.chunk_bytes(i) for i in range(aligned.num_chunks)] == expected


def test_whitespace_alone_ends_no_chunk(numbers):
    views, documents, folder = numbers
    documents.append(Document("x y", "2"))
    for value, expected in ((0.99, [b"x", b" y"]), (1.0, [b"x", b" ", b"y"])):
        fitted = threshold(folder, value).fitted(**views, documents=documents)
        aligned = align_text("x y", **views, alignment=fitted)
        assert [aligned.chunk_bytes(i) for i in range(aligned.num_chunks)] == expected


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_coarser_chunks_are_unions_and_as_many_as_told(views, tmp_path, student, teacher):
    pair = {"student": views[student], "teacher": views[teacher]}
    finest = [align_text(document.text, **pair) for document in DOCUMENTS]
    num_finest = before = sum(aligned.num_chunks for aligned in finest)
    for value in (1.0, 0.05, 0.01, 1e-3, 0.0):
        fitted = threshold(tmp_path, value).fitted(**pair, documents=DOCUMENTS)
        aligned = [align_text(d.text, **pair, alignment=fitted) for d in DOCUMENTS]
        for fine, coarse in zip(finest, aligned, strict=True):
            assert set(coarse.chunk_ends.tolist()) <= set(fine.chunk_ends.tolist())
            assert coarse.coverage == 1.0
        num_chunks = sum(coarse.num_chunks for coarse in aligned)
        assert fitted.statistics.num_chunks(value) == num_chunks <= before
        assert fitted.statistics.share_merged(value) == pytest.approx(1 - num_chunks / num_finest)
        before = num_chunks
    assert before < num_finest


def test_only_so_many_documents_are_counted(views, tmp_path):
    pair = {"student": views["byte_level"], "teacher": views["metaspace"]}
    fitted = threshold(tmp_path, 0.1, max_documents=2).fitted(**pair, documents=iter(DOCUMENTS))
    counts = count_documents(DOCUMENTS[:2], **pair)
    np.testing.assert_array_equal(fitted.statistics.keys, counts.keys)
    assert fitted.statistics.num_documents == 2


def test_a_chat_counts_as_its_text(numbers):
    views, documents, folder = numbers
    chat = Chat((Message("user", "x 122"), Message("assistant", "x 12")), "chat")
    of_chat = threshold(folder, 0.1).fitted(**views, documents=[*documents, chat])
    text = Document("x 122\n\nx 12", "text")
    of_text = threshold(folder / "text", 0.1).fitted(**views, documents=[*documents, text])
    np.testing.assert_array_equal(of_chat.statistics.keys, of_text.statistics.keys)
    np.testing.assert_array_equal(of_chat.statistics.bias, of_text.statistics.bias)
    assert of_chat.statistics.num_documents == 3


def test_an_unfitted_threshold_selects_nothing(numbers):
    views, _, folder = numbers
    unfitted = threshold(folder, 0.1)
    assert isinstance(unfitted, ChunkSelection)
    with pytest.raises(ValueError, match="not computed yet"):
        align_text("x 12", **views, alignment=unfitted)


def test_other_tokenizers_are_refused(numbers):
    views, documents, folder = numbers
    fitted = threshold(folder, 0.1).fitted(**views, documents=documents)
    assert fitted.fitted(**views, documents=[]) is fitted
    swapped = {"student": views["teacher"], "teacher": views["student"]}
    with pytest.raises(ValueError, match="of other tokenizers"):
        align_text("x 12", **swapped, alignment=fitted)
    with pytest.raises(ValueError, match="of other tokenizers"):
        fitted.fitted(**swapped, documents=documents)


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_a_threshold_is_a_bias(tmp_path, value):
    with pytest.raises(ValueError, match="expected 0 to 1"):
        threshold(tmp_path, value)


def test_a_limit_leaves_something(tmp_path):
    with pytest.raises(ValueError, match="max_documents is 0"):
        threshold(tmp_path, 0.1, max_documents=0)


def test_arrays_give_the_record_back(numbers):
    views, documents, folder = numbers
    statistics = threshold(folder, 0.1).fitted(**views, documents=documents).statistics
    again = BiasStatistics.of(statistics.arrays())
    for name, value in statistics.arrays().items():
        np.testing.assert_array_equal(value, again.arrays()[name])
    assert again.student_fingerprint == views["student"].fingerprint
