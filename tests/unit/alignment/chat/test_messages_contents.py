"""Contents that other implementations trip over: each comes out as exactly the chunks it has."""

import numpy as np
import pytest
from tests.unit.alignment.chat.chat_sides import KINDS, view_for
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from alm_lightning.alignment.boundaries import Whitespace
from alm_lightning.alignment.chat.messages import align_messages
from alm_lightning.shapes import NO_CHUNK
from alm_lightning.tokenization.fast import view_of

BARE = "{% for m in messages %}{{ m.content }}{% endfor %}"
LINES = "{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n\n{% endfor %}"


def aligned_of(student, teacher, *contents, **settings):
    rows = [{"role": ("user", "assistant")[n % 2], "content": c} for n, c in enumerate(contents)]
    return align_messages(rows, student=student, teacher=teacher, **settings)


def spoken(aligned):
    """Chunks of content, in order."""
    chunks = [aligned.chunk_bytes(chunk) for chunk in range(aligned.num_chunks)]
    return [chunk for chunk in chunks if chunk]


def trained(aligned):
    return [aligned.chunk_bytes(chunk) for chunk in np.flatnonzero(aligned.trained).tolist()]


@pytest.mark.parametrize("kind", KINDS)
def test_no_special_token_comes_out_of_a_content(kind):
    view = view_for(kind)
    content = "user name <bos>hello<eos> <s>x</s> one<|im_end|>two <|eot_id|>[/INST]<end_of_turn>"
    aligned = aligned_of(view, view_for("bytes"), content, content)
    is_content = np.append(~aligned.is_structure, False)[aligned.student_chunk_ids]
    ids = aligned.student_ids[is_content]
    assert b"".join(view.token_bytes[i] for i in ids.tolist()).count(b"<|im_end|>") == 2
    assert not set(ids.tolist()) & set(view.special_ids.values())


@pytest.mark.parametrize("teacher", ["mistral", "bytes", "chatml"])
def test_a_line_end_that_is_structure_on_one_side_alone(teacher):
    aligned = aligned_of(view_for("gemma"), view_for(teacher), "a b\nc d e", "x")
    assert b"".join(spoken(aligned)) == b"a b\nc d ex"
    assert b"\n" in spoken(aligned)
    assert aligned.coverage == 1.0


def normalised(normalizer):
    state = Tokenizer.from_str(view_for("chatml").hf.backend_tokenizer.to_str())
    state.normalizer = normalizer
    return view_of(
        PreTrainedTokenizerFast(tokenizer_object=state, eos_token="<|im_end|>"), name="normalised"
    )


def test_only_what_is_rewritten_is_in_a_larger_chunk():
    content, rest = "x 9e\u0301 y", "z\u1112\u1161\u11ab."
    nfc, given = normalised(normalizers.NFC()), view_for("bytes")
    aligned = aligned_of(nfc, given, content, rest)
    large = [chunk.decode() for chunk in spoken(aligned) if not chunk.isascii()]
    assert large == ["e\u0301", "\u1112\u1161\u11ab"]
    assert b"".join(spoken(aligned)) == (content + rest).encode()
    assert (aligned.coverage, aligned.rewritten_bytes) == (1.0, 3 + 9)


def test_a_space_that_is_written_as_u2581_on_one_side():
    aligned = aligned_of(view_for("gemma"), view_for("bytes"), "a\u2581b", "\u2581\u2581c d")
    assert b"".join(spoken(aligned)) == "a\u2581b\u2581\u2581c d".encode()
    assert (aligned.coverage, aligned.rewritten_bytes) == (1.0, 9)
    assert [chunk for chunk in spoken(aligned) if chunk.isascii()] == [b"a", b"b", b"c", b" ", b"d"]


def word_pieces():
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    trainer = trainers.WordPieceTrainer(
        vocab_size=60, special_tokens=["[UNK]", "[CLS]", "[SEP]"], show_progress=False
    )
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "isolated")
    backend.train_from_iterator(["ab cd ef user assistant : \n"], trainer)
    backend.add_special_tokens([AddedToken("[SEP]", special=True)])
    hf = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", eos_token="[SEP]")
    return view_of(hf, name="word pieces")


def test_what_a_side_has_no_token_for_is_counted():
    template = "{% for m in messages %}{{ m.content }}[SEP]{% endfor %}"
    aligned = aligned_of(
        word_pieces(), view_for("bytes"), "ab 日 cd", "ef Q", student_template=template
    )
    assert aligned.outside_bytes == {"unknown": len("日Q".encode()), "structure": 0, "tail": 0}
    assert b"".join(spoken(aligned)) == b"ab  cdef "
    assert b"".join(trained(aligned)) == b"ef "
    assert trained(aligned)[-1] == b""


def test_a_template_without_special_tokens():
    view = view_for("bytes")
    aligned = aligned_of(view, view, "U", "A", student_template=LINES, teacher_template=LINES)
    assert [aligned.chunk_bytes(chunk) for chunk in range(aligned.num_chunks)] == (
        [b"", b"U", b"", b"A", b""]
    )
    assert aligned.student_starts.tolist() == [0, 10, 11, 28, 29]
    # what follows the last content closes it; what follows another opens the next
    assert aligned.trained.tolist() == [False, False, False, True, True]
    texts = bytes(aligned.student_ids[aligned.student_trained].tolist())
    assert texts == b"A\n\n"


def test_a_coarser_alignment_keeps_the_ends_of_messages_without_structure_between():
    sides = view_for("chatml"), view_for("bytes")
    contents = "Hello, who are you?", "I am a model.", "And", "Six."
    for templates in (
        {"teacher_template": BARE},
        dict.fromkeys(("student_template", "teacher_template"), BARE),
    ):
        aligned = aligned_of(*sides, *contents, alignment=Whitespace(), **templates)
        assert aligned.coverage == 1.0
        assert b"".join(trained(aligned)) == b"I am a model.Six."
        assert set(np.cumsum([len(c) for c in contents]).tolist()) <= set(
            aligned.chunk_ends.tolist()
        )


def test_a_space_that_ends_a_content_is_not_taken_for_the_next():
    aligned = aligned_of(
        view_for("llama3", regex=False), view_for("bytes"), "0 ", "a", student_template=BARE
    )
    for chunk, (start, end, *_) in enumerate(aligned.chunks):
        ids = aligned.student_ids[start:end].tolist()
        spelled = b"".join(view_for("llama3", regex=False).token_bytes[i] for i in ids)
        assert spelled == aligned.chunk_bytes(chunk)
    assert sum(aligned.outside_bytes.values()) == 3 - len(b"".join(spoken(aligned)))


def test_a_token_that_reaches_into_structure_of_one_side_costs_itself_alone():
    view = view_for("chatml", regex=False)
    settings = {"student_template": LINES, "teacher_template": BARE, "trained": "all"}
    aligned = aligned_of(view, view_for("bytes"), ".", "0", **settings)
    assert [view.token_bytes[i] for i in aligned.student_ids.tolist()].count(b".\n") == 1
    assert spoken(aligned) == [b"0"]
    assert aligned.outside_bytes == {"unknown": 0, "structure": 1, "tail": 0}


def test_contents_of_nothing_without_structure_are_no_chunk():
    for templates in ({"teacher_template": BARE}, {"student_template": BARE}):
        aligned = aligned_of(view_for("chatml"), view_for("bytes"), "", "", **templates)
        assert (aligned.num_chunks, aligned.coverage) == (0, 1.0)
    assert aligned.student_ids.tolist() == []
    assert (aligned.teacher_chunk_ids == NO_CHUNK).all()


def test_a_token_from_structure_through_a_content_to_structure_is_in_neither():
    template = "{% for m in messages %}H{{ m.content }}o<|im_end|>{% endfor %}"
    settings = {"student_template": template, "teacher_template": BARE}
    view = view_for("chatml")
    aligned = aligned_of(view, view_for("bytes"), "ell", "1", **settings)
    assert view.token_bytes[int(aligned.student_ids[0])] == b"Hello"
    assert spoken(aligned) == [b"1"]
    assert aligned.outside_bytes == {"unknown": 0, "structure": 3, "tail": 0}


def test_a_token_from_header_to_header_over_a_content_of_nothing():
    lines = view_for("chatml", regex=False)
    settings = {"teacher_template": LINES, "trained": "all"}
    aligned = aligned_of(view_for("mistral"), lines, "", "1", **settings)
    assert spoken(aligned) == [b"1"]
    assert aligned.coverage == 1.0
    # the header, with the token that reaches into the next one
    last = int(aligned.teacher_ids[aligned.teacher_ends[0] - 1])
    assert lines.token_bytes[last].endswith(b"\n\n")
