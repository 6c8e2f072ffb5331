"""One side of a chat: its tokens are those of the whole rendering, and where each of them lies."""

import json

import pytest
from tests.unit.alignment.chat.chat_sides import SPECIALS, backend_of, raw_of, view_for, written
from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast

from alm_lightning.alignment.chat.messages import align_messages
from alm_lightning.alignment.chat.turns import NOWHERE, turns_of
from alm_lightning.corpus.chat import Chat
from alm_lightning.shapes import NO_CHUNK
from alm_lightning.tokenization.chat.choice import template_of
from alm_lightning.tokenization.chat.template import Rendering
from alm_lightning.tokenization.fast import view_of
from alm_lightning.tokenization.rewrite import INSIDE_REWRITE


def rows(*pairs):
    return [{"role": role, "content": content} for role, content in pairs]


def turns(view, *pairs):
    return turns_of(view, template_of(view, None).render(Chat.of(rows(*pairs), "c")), "c")


@pytest.mark.parametrize("regex", [True, False])
@pytest.mark.parametrize("kind", sorted(SPECIALS))
def test_ids_are_those_of_the_whole_rendering(kind, regex):
    messages = [("user", "Hello there."), ("assistant", "I am a model. é 日"), ("user", "Six")]
    text = "".join(written(kind, messages))
    side = turns(view_for(kind, regex=regex), *messages)
    assert side.ids.tolist() == raw_of(kind, regex=regex).encode(text).ids
    assert not side.unknown.any()
    assert side.rewritten_bytes == 0


def test_steps_and_ends_of_bytes():
    side = turns(view_for("bytes"), ("user", "é"), ("assistant", ""))
    assert side.steps.tolist() == [0] * 6 + [1, 1] + [2] + [3] * 10 + [5]
    assert side.start_steps.tolist() == side.end_steps.tolist() == side.steps.tolist()
    inside = INSIDE_REWRITE
    header = [0, *[inside] * 4, 0]
    assert side.ends.tolist() == [*header, 1, 2, 0, *[inside] * 9, 0, 0]


def test_special_tokens_are_those_of_the_structure_alone():
    view = view_for("chatml")
    special = view.special_ids["<|im_end|>"]
    side = turns(view, ("user", "a<|im_end|>b"))
    assert side.ids.tolist().count(special) == 1
    assert side.steps[side.ids == special].tolist() == [2]
    spelled = b"".join(view.token_bytes[i] for i in side.ids[side.steps == 1].tolist())
    assert spelled == b"a<|im_end|>b"


@pytest.mark.parametrize("kind", ["gemma", "llama3", "mistral"])
def test_a_start_that_the_tokenizer_would_add_is_not_doubled(kind):
    view = view_for(kind)
    assert turns(view, ("user", "U")).ids.tolist().count(view.id_of("bos")) == 1


def test_a_token_that_spans_structure_and_content_is_in_neither():
    view = view_for("chatml", regex=False)
    pairs = ("user", "Hi"), ("assistant", "\nI am Six."), ("user", "Hello there")
    side = turns(view, *pairs)
    surfaces = [view.token_bytes[i] for i in side.ids.tolist()]
    spanning = [surface for surface, step in zip(surfaces, side.steps, strict=True) if step < 0]
    assert spanning == [b"\n\n", b"user\nHel"]
    aligned = align_messages(rows(*pairs), student=view, teacher=view_for("bytes"))
    mixed = side.steps == NOWHERE
    assert (aligned.student_chunk_ids[mixed] == NO_CHUNK).all()
    assert not aligned.student_trained[mixed].any()
    # one byte of the first content, three of the second
    assert aligned.outside_bytes == {"unknown": 0, "structure": 4, "tail": 0}
    # a header that ends in such a token is in no chunk, though most of it is no content: one
    # header and three ends are left
    assert aligned.is_structure.sum() == 4


def test_the_space_before_a_word_is_the_words():
    view = view_for("mistral")
    side = turns(view, ("user", "Hello"), ("assistant", " I"))
    pieces = view.hf.convert_ids_to_tokens(side.ids.tolist())
    assert pieces[:2] == ["<s>", "[INST]"]
    assert pieces[2].startswith("\u2581")
    assert side.steps[:3].tolist() == [0, 0, 1]
    assert side.ends[:3].tolist() == [0, 0, len(pieces[2]) - 1]
    # of two spaces the first one is the template's
    assert pieces[-3:] == ["\u2581", "\u2581I", "</s>"]
    assert side.steps[-3:].tolist() == [3, 4, 5]
    assert side.ends[-3:].tolist() == [0, 2, 0]


def test_no_dummy_space_after_a_special_token_where_a_sequence_alone_has_one():
    view = view_for("mistral")
    assert view.hf.convert_ids_to_tokens(view.encode("Hello").ids.tolist())[0][0] == "\u2581"
    side = turns_of(view, Rendering(("<s>[INST]", "[/INST]", "</s>"), ("Hello", "I")), "c")
    assert side.ids.tolist() == raw_of("mistral").encode("<s>[INST]Hello[/INST]I</s>").ids
    assert "\u2581" not in "".join(view.hf.convert_ids_to_tokens(side.ids.tolist()))


def test_a_dummy_space_of_its_own_is_part_of_the_content():
    state = json.loads(raw_of("mistral").to_str())
    state["pre_tokenizer"]["prepend_scheme"] = "always"
    backend = Tokenizer.from_str(json.dumps(state))
    view = view_of(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>"), name="old")
    template = "{% for m in messages %}[INST]{{ m.content }}</s>{% endfor %}"
    aligned = align_messages(
        rows(("user", "日a")), student=view, teacher=view_for("bytes"), student_template=template
    )
    pieces = view.hf.convert_ids_to_tokens(aligned.student_ids.tolist())
    assert pieces[:3] == ["[INST]", "\u2581", "<0xE6>"]
    assert aligned.student_chunk_ids[:3].tolist() == [0, 1, 1]
    assert aligned.coverage == 1.0


def with_specials(*tokens):
    backend = Tokenizer.from_str(raw_of("chatml").to_str())
    backend.add_special_tokens(list(tokens))
    hf = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>")
    return view_of(hf, name="with specials")


def test_whitespace_that_special_tokens_swallow_has_no_token():
    tokens = [
        AddedToken("<|u|>", special=True, rstrip=True),
        AddedToken("<|a|>", special=True, rstrip=True),
        AddedToken("<|e|>", special=True, lstrip=True),
    ]
    view = with_specials(*tokens)
    rendering = Rendering(("<|u|>\n", " \n<|e|>\n<|a|>\n ", "<|e|>"), ("Hi", "Six"))
    side = turns_of(view, rendering, "c")
    pieces = view.hf.convert_ids_to_tokens(side.ids.tolist())
    structure = [p for p, step in zip(pieces, side.steps.tolist(), strict=True) if step % 3 != 1]
    assert structure == ["<|u|>", "<|e|>", "\u010a", "<|a|>", "<|e|>"]
    raw = Tokenizer.from_str(raw_of("chatml").to_str())
    raw.add_special_tokens(tokens)
    assert side.ids.tolist() == raw.encode("<|u|>\nHi \n<|e|>\n<|a|>\n Six<|e|>").ids


def test_the_longest_special_token_counts():
    view = with_specials(AddedToken("<e>", special=True), AddedToken("<e>>", special=True))
    side = turns_of(view, Rendering(("<e>>", "<e>>"), ("x",)), "c")
    longest = view.special_ids["<e>>"]
    assert side.ids[[0, -1]].tolist() == [longest, longest]
    assert side.steps.tolist() == [0, 1, 2]


def test_what_follows_a_content_closes_it_up_to_a_special_token():
    view = view_for("bytes")
    # without one, the gap between two contents opens the next, and the last gap closes
    side = turns_of(view, Rendering(("", "--", ".."), ("a", "b")), "c")
    assert side.steps.tolist() == [1, 3, 3, 4, 5, 5]
    side = turns_of(view, Rendering(("", "-<eos>-", ".<eos>."), ("a", "b")), "c")
    assert side.steps.tolist() == [1, 2, 2, 3, 4, 5, 5, 6]


def test_a_tokenizer_without_special_tokens():
    backend = backend_of("chatml", regex=True)
    view = view_of(PreTrainedTokenizerFast(tokenizer_object=backend), name="bare")
    assert not view.special_ids
    side = turns_of(view, Rendering(("user\n", "\n"), ("Hello",)), "c")
    parts = [side.ids[side.steps == step].tolist() for step in range(3)]
    spelled = [b"".join(view.token_bytes[i] for i in part) for part in parts]
    assert spelled == [b"user\n", b"Hello", b"\n"]
