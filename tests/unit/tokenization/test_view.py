import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers
from transformers import PreTrainedTokenizerFast

from alm_lightning import align_text
from alm_lightning.tokenization.bytes.view import byte_view
from alm_lightning.tokenization.fast import view_of
from alm_lightning.tokenization.load import load_tokenizer
from alm_lightning.tokenization.rewrite import ends_from_pieces, pieces_of
from alm_lightning.tokenization.view import content_bytes

TEXTS = [
    "Hello, world: it's 12345!",
    " leading space\n\ttabs  and  runs   ",
    "日本語 café cafe\u0301 \u1112\u1161\u11ab 👩‍👩‍👧‍👦 🇩🇪",
    "<bos>hello<eos> and <s>x</s> <start_of_turn>",
    "<0x41> is not A",
    "\x00\x7f",
]


@pytest.mark.parametrize("name", ["byte_level", "metaspace", "bytes"])
@pytest.mark.parametrize("text", TEXTS)
def test_tokens_spell_the_text(views, name, text):
    view = views[name]
    encoding = view.encode(text)
    assert b"".join(view.token_bytes[i] for i in encoding.ids) == text.encode()
    assert encoding.ends[-1] == len(text.encode())
    assert encoding.rewritten_bytes == 0
    # content is content: no special token, whatever the text looks like
    assert not set(encoding.ids.tolist()) & set(view.special_ids.values())


def test_a_literal_metaspace_is_one_step(metaspace_view):
    text = "a\u2581b \u2581\u2581c"
    encoding = metaspace_view.encode(text)
    assert encoding.rewritten_bytes == 9  # three U+2581 of three bytes each
    ends = set(encoding.ends.tolist())
    assert len(text.encode()) in ends
    inside = {2, 3, 7, 8, 10, 11}  # within a rewritten character
    assert not ends & inside


@given(st.text(alphabet="ab\u2581 \u00e9", max_size=20))
def test_ends_after_a_rewrite_still_correspond(text):
    # whatever the tokenizer spells, equal bytes before an end mean the same place
    given_bytes, spelled = text.encode(), text.replace("\u2581", " ").encode()
    ends, rewritten = ends_from_pieces(
        pieces_of(text, lambda piece: piece.replace("\u2581", " ").encode()),
        spelled,
        np.arange(1, len(spelled) + 1),
    )
    known = ends[ends >= 0]
    assert (np.diff(known) >= 0).all()
    assert rewritten == 0 if "\u2581" not in text else rewritten > 0
    for spelled_end, given_end in zip(range(1, len(spelled) + 1), ends.tolist(), strict=True):
        if given_end >= 0:
            before = given_bytes[:given_end].replace("\u2581".encode(), b" ")
            assert before == spelled[:spelled_end]


def test_boundary_tokens(views):
    for view in views.values():
        ids = set(view.boundary_ids.tolist())
        for index, surface in enumerate(view.token_bytes):
            is_boundary = surface is not None and surface[:1] in (b" ", b"\t", b"\n")
            is_boundary |= index in view.special_ids.values()
            assert (index in ids) == is_boundary


def test_a_lone_surrogate_is_named_with_its_place(views):
    for view in views.values():
        with pytest.raises(ValueError, match=r"doc 7: lone surrogate U\+D800 at character 2"):
            view.encode("ab\ud800c", name="doc 7")


def test_what_is_no_text_is_refused(bytes_view):
    # where annotations are checked, that would refuse it first
    unchecked = getattr(content_bytes, "__wrapped__", content_bytes)
    with pytest.raises(TypeError, match="expected a text"):
        unchecked(b"ab", "doc 1")


@pytest.mark.parametrize("normaliser", [normalizers.NFC(), normalizers.NFKC()])
def test_what_a_normaliser_changes_is_one_step(byte_level_tokenizer, normaliser):
    backend = Tokenizer.from_str(byte_level_tokenizer.backend_tokenizer.to_str())
    backend.normalizer = normaliser
    view = view_of(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>"), name="n")
    text = "one cafe\u0301s \u1112\u1161\u11ab two"
    aligned = align_text(text, student=byte_view(), teacher=view)
    chunks = {aligned.chunk_bytes(i).decode(errors="replace") for i in range(len(aligned.chunks))}
    assert aligned.coverage == 1.0
    assert aligned.rewritten_bytes == len("e\u0301\u1112\u1161\u11ab".encode())
    assert b"".join(aligned.chunk_bytes(i) for i in range(len(aligned.chunks))) == text.encode()
    # the syllable's three letters can't be told apart after composition
    assert any("\u1112\u1161\u11ab" in chunk for chunk in chunks)


def test_load_tokenizer(model_folder, metaspace_view):
    assert load_tokenizer(str(model_folder)).fingerprint == metaspace_view.fingerprint
    assert load_tokenizer("bytes").encode("é").ids.tolist() == [195, 169]
    with pytest.raises(ValueError, match="expected 'bytes', a folder"):
        load_tokenizer("nobody/nothing")


def test_roles(metaspace_view, bytes_view):
    assert metaspace_view.prepends_bos
    assert metaspace_view.token_bytes[metaspace_view.id_of("eos")] is None
    assert bytes_view.id_of("bos") == 256
    with pytest.raises(ValueError, match="has no sep token"):
        bytes_view.id_of("sep")


def test_content_stays_content_after_the_tokenizer_was_used_otherwise(metaspace_tokenizer):
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=metaspace_tokenizer.backend_tokenizer, bos_token="<bos>"
    )
    view = view_of(tokenizer, name="shared")
    text = "one<bos>two" + " and more" * 9
    before = view.encode(text)
    # transformers parses special tokens, cuts and pads, and leaves the backend like that
    tokenizer([text], truncation=True, max_length=3)
    after = view.encode(text)
    assert after.ids.tolist() == before.ids.tolist()
    assert not set(after.ids.tolist()) & set(view.special_ids.values())
    assert after.ends[-1] == len(text.encode())
