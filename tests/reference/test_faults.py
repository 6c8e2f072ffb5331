"""Mistakes that other implementations make (docs/method.md, section 6), one test each.

Each would fail on an implementation with that fault. Those of chats are in
tests/unit/alignment/chat/test_messages.py, those of likelihoods and objectives in their own rooms.
"""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer, normalizers
from transformers import PreTrainedTokenizerFast

from alm_lightning import align_text
from alm_lightning.data.collator import Collator
from alm_lightning.data.windows import windows
from alm_lightning.shapes import NO_CHUNK
from alm_lightning.tokenization.bytes.view import byte_view
from alm_lightning.tokenization.fast import view_of

REST = " and all that comes after it, word for word."


def chunk_texts(aligned):
    return [aligned.chunk_bytes(i) for i in range(aligned.num_chunks)]


def later_chunks(aligned, text):
    """The chunks of what follows the awkward part, by their bytes."""
    start = len(text.encode()) - len(REST)
    starts = aligned.chunk_starts.tolist()
    return [
        chunk for place, chunk in zip(starts, chunk_texts(aligned), strict=True) if place >= start
    ]


def plain_chunks(student, teacher):
    """What the same words give without the awkward part."""
    return chunk_texts(align_text(REST, student=student, teacher=teacher))


def with_normalizer(tokenizer, normalizer):
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.normalizer = normalizer
    return view_of(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>"), name="n")


@pytest.mark.parametrize(
    "awkward",
    [
        "<bos>",  # a special token of one side, in the middle of the text
        "<|endoftext|>",
        "<s>x</s>",
        "\ud55c\uae00",  # characters of several tokens
        "👩\u200d👩\u200d👧🏽🇩🇪\U00020000",
        "user\nassistant",
        "a\u2581b \u2581\u2581c",
    ],
)
@pytest.mark.parametrize("pair", [("byte_level", "metaspace"), ("metaspace", "bytes")])
def test_what_is_awkward_costs_no_later_chunk(views, pair, awkward):
    student, teacher = (views[name] for name in pair)
    text = awkward + REST
    aligned = align_text(text, student=student, teacher=teacher)
    assert later_chunks(aligned, text) == plain_chunks(student, teacher)
    assert aligned.coverage == 1.0


@pytest.mark.parametrize("normalizer", [normalizers.NFC(), normalizers.NFKC()])
def test_a_normaliser_on_one_side_costs_no_later_chunk(byte_level_tokenizer, views, normalizer):
    teacher = with_normalizer(byte_level_tokenizer, normalizer)
    for awkward in ("cafe\u0301", "\u1112\u1161\u11ab", "e\u0323\u0302"):
        text = awkward + REST
        for student in (views["bytes"], views["metaspace"]):
            aligned = align_text(text, student=student, teacher=teacher)
            assert aligned.rewritten_bytes > 0
            assert later_chunks(aligned, text) == plain_chunks(student, teacher)
            assert aligned.coverage == 1.0


def test_a_bos_on_one_side_does_not_merge_the_sequence(byte_level_tokenizer, metaspace_view):
    state = json.loads(byte_level_tokenizer.backend_tokenizer.to_str()) | {"post_processor": None}
    backend = Tokenizer.from_str(json.dumps(state))
    plain = view_of(
        PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>"), name="plain"
    )
    assert not plain.prepends_bos
    assert metaspace_view.prepends_bos
    aligned = align_text(" hello world", student=plain, teacher=metaspace_view)
    assert aligned.num_chunks > 1
    assert aligned.coverage == 1.0


def test_both_sides_are_cut_at_the_same_byte(views):
    text = "The quick brown fox jumps over the lazy dog." + REST
    aligned = align_text(text, student=views["bytes"], teacher=views["metaspace"])
    content, place = text.encode(), 0
    for window in windows(aligned, student_length=20, teacher_length=9, name="text"):
        student = bytes(window.student.ids.tolist())
        teacher = views["metaspace"].table.spelled(window.teacher.ids).tobytes()
        assert student == teacher == content[place : place + len(student)]
        assert len(window.student.ids) <= 20
        assert len(window.teacher.ids) <= 9
        # no unmatched tail is a chunk, or lies in one
        assert NO_CHUNK not in (window.student.chunk_ids[-1], window.teacher.chunk_ids[-1])
        place += len(student)
    assert place == len(content)


def test_an_eos_that_is_the_pad_token_is_learnt(byte_level_tokenizer):
    backend = Tokenizer.from_str(byte_level_tokenizer.backend_tokenizer.to_str())
    student = view_of(
        PreTrainedTokenizerFast(
            tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>", pad_token="<eos>"
        ),
        name="pads with eos",
    )
    teacher = byte_view()
    rows = []
    for text in ("one", "one two three"):
        aligned = align_text(text, student=student, teacher=teacher)
        rows += windows(aligned, student_length=30, teacher_length=30, name="text")
    batch = Collator(student=student, teacher=teacher, micro_batch_size=2).batch(rows)
    eos = student.id_of("eos")
    for row in range(2):
        (places,) = np.nonzero((batch.student.ids[row] == eos).numpy())
        end = places[0]
        assert batch.student.mask[row, end]
        assert batch.student_targets[row, end]
        assert batch.student.chunk_ids[row, end] == batch.chunk_mask[row].sum() - 1
        # and padding is no target, though it is the same token
        assert not batch.student_targets[row, end + 1 :].any()
        assert not batch.student.mask[row, end + 1 :].any()


def test_sentencepiece_is_not_refused(metaspace_view, byte_level_view):
    text = "Größe 日本 word"
    aligned = align_text(text, student=metaspace_view, teacher=byte_level_view)
    assert aligned.coverage == 1.0
    # characters of one side that are byte tokens of the other still align
    assert "日".encode() in b"".join(chunk_texts(aligned))


def test_a_lone_surrogate_is_named_with_document_and_position(views):
    with pytest.raises(ValueError, match=r"row 17: lone surrogate U\+DCFF at character 3"):
        align_text("abc\udcff", student=views["bytes"], teacher=views["metaspace"], name="row 17")
