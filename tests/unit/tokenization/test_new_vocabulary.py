"""Ordinary tokens of another tokenizer: texts are cut as before, whatever is special."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import SENTENCES
from tests.unit.tokenization.conftest import DONORS, MARKS, ROLES
from tests.unit.tokenization.small_backends import CORPUS, SPECIALS, byte_level, view
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from alm_lightning import align_text
from alm_lightning.tokenization.bytes.view import byte_view
from alm_lightning.tokenization.fast import view_of
from alm_lightning.tokenization.load import load_tokenizer
from alm_lightning.tokenization.new_vocabulary import new_vocabulary

NAMES = [*DONORS, "metaspace"]
FRAGMENTS = [*" ".join(CORPUS + SENTENCES).split(), " ", "\n\n", "<eos>", "</s>", "<mask>", "[UNK]"]
TEXTS = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=3)), max_size=12)


def pieces(of, text, continued=False):
    return [of.token_bytes[index] for index in of.encode(text, continued=continued).ids]


@settings(max_examples=60, deadline=None)
@given(parts=TEXTS, name=st.sampled_from(NAMES), continued=st.booleans())
def test_content_is_cut_as_before(parts, name, continued, donors, kept):
    text = "".join(parts).encode("utf-8", "ignore").decode()
    assert pieces(kept[name], text, continued) == pieces(donors[name], text, continued)


@pytest.mark.parametrize("name", NAMES)
def test_ids_have_no_holes_and_only_the_old_specials(name, donors, kept):
    new, donor = kept[name], donors[name]
    specials = set(new.special_ids.values())
    assert {index for index, s in enumerate(new.token_bytes) if s is None} == specials
    assert sorted(new.hf.get_vocab().values()) == list(range(new.num_tokens))
    needs_unknown = name in ("unigram", "wordpiece", "end_of_word")
    unknown = {"unigram": "<unk>"}.get(name, "[UNK]")
    expected = {*ROLES.values(), *MARKS} | ({unknown} if needs_unknown else set())
    assert new.special_ids.keys() == expected
    content = [s for s in donor.token_bytes if s is not None]
    assert sorted(content) == sorted(s for s in new.token_bytes if s is not None)
    assert new.roles == {role: new.special_ids[text] for role, text in ROLES.items()}


@pytest.mark.parametrize("choice", ["keep", "replace"])
@pytest.mark.parametrize("name", NAMES)
def test_a_folder_reads_back(name, choice, donors, old, tmp_path):
    # a class that AutoTokenizer would make another tokenizer of
    donors[name].hf.init_kwargs["tokenizer_class"] = "GPT2Tokenizer"
    new = new_vocabulary(old, donors[name], special_tokens=choice, keep=[])
    new.hf.save_pretrained(tmp_path)
    # a folder of a model has its configuration as well, which AutoTokenizer looks at
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3_text"}))
    again, stock = load_tokenizer(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert (again.fingerprint, again.roles) == (new.fingerprint, new.roles)
    assert again.prepends_bos == new.prepends_bos == (choice == "keep" or name == "metaspace")
    for text in [*SENTENCES, *CORPUS, "a<end_of_turn>b"]:
        assert again.encode(text).ids.tolist() == new.encode(text).ids.tolist()
        assert stock(text).input_ids == new.hf(text).input_ids
    assert stock.chat_template == new.hf.chat_template
    assert stock.padding_side == "left"


def test_reported_spans_are_trimmed_as_before(old):
    backend = byte_level()
    backend.post_processor = processors.ByteLevel(trim_offsets=True, add_prefix_space=False)
    new = new_vocabulary(old, view(backend), special_tokens="keep", keep=[])
    spans = new.hf("the cat", return_offsets_mapping=True).offset_mapping
    assert spans[0] == (0, 0)  # the BOS
    starts = {start for start, _ in spans}
    assert 4 in starts
    assert 3 not in starts  # where the space is


def test_texts_align_with_the_old_tokenizer(kept, old):
    text = "hello world the cat sat, café"
    for name in ("byte_level", "metaspace", "added_words"):
        assert align_text(text, student=kept[name], teacher=old).coverage == 1.0


class TestTextsThatTheDonorHas:
    """One text is one token, and the special one wins."""

    def test_as_another_special(self, donors):
        donor = donors["byte_level"]  # has <bos> and <eos>
        before = byte_view({"bos": "<bos>", "eos": "<bos>", "pad": "<x>"}, ["<eos>"])
        new = new_vocabulary(before, donor, special_tokens="keep", keep=["<eos>"])
        size = new.num_tokens
        assert list(new.special_ids.values()) == [size - 3, size - 2, size - 1]
        assert new.special_ids["<bos>"] == size - 3
        assert new.hf.eos_token == "<bos>"

    @pytest.mark.parametrize("ignore_merges", [True, False])
    def test_as_an_ordinary_piece(self, ignore_merges, caplog):
        donor = view(byte_level(ignore_merges=ignore_merges))
        vocabulary = donor.hf.get_vocab()
        assert "the" in vocabulary
        before = byte_view(ROLES, ["the"])
        new = new_vocabulary(before, donor, special_tokens="keep", keep=["the"])
        assert "the" in caplog.text
        assert new.token_bytes[new.special_ids["the"]] is None
        assert len(new.token_bytes) == len(set(new.hf.get_vocab().values()))
        # content of the text is content, in smaller tokens
        assert b"".join(pieces(new, "the mat, the hat")) == b"the mat, the hat"
        assert new.special_ids["the"] not in new.encode("the mat").ids

    def test_as_an_added_word(self, donors):
        donor = donors["added_words"]
        before = byte_view(ROLES, ["hello", "Việt"])
        new = new_vocabulary(before, donor, special_tokens="keep", keep=["hello", "Việt"])
        assert b"hello" in pieces(donor, "hello world")
        assert b"".join(pieces(new, "hello Việt")) == "hello Việt".encode()
        assert not set(new.special_ids.values()) & set(new.encode("hello Việt").ids.tolist())

    def test_as_the_unknown_token(self, donors):
        before = byte_view(ROLES, ["[UNK]", "<mask>"])
        keep = ["[UNK]", "<mask>"]
        new = new_vocabulary(before, donors["wordpiece"], special_tokens="keep", keep=keep)
        assert sorted(new.special_ids) == sorted([*ROLES.values(), *keep])
        assert new.encode("☃").ids.tolist() == [new.special_ids["[UNK]"]]


def test_the_unknown_token_stays_where_bytes_do_not_suffice(metaspace_view, old):
    state = json.loads(metaspace_view.hf.backend_tokenizer.to_str())
    state["model"]["byte_fallback"] = False
    backend = Tokenizer.from_str(json.dumps(state))
    hf = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")
    donor = view_of(hf, name="no fallback")
    new = new_vocabulary(old, donor, special_tokens="keep", keep=[])
    assert new.encode("☃").ids.tolist() == [new.special_ids["<unk>"]]
    assert new.hf.backend_tokenizer.model.unk_token == "<unk>"


def test_the_model_reads_as_many_tokens_as_before(donors):
    before = byte_view(ROLES)
    before.hf.model_max_length = 77
    for choice in ("keep", "replace"):
        new = new_vocabulary(before, donors["byte_level"], special_tokens=choice, keep=[])
        assert new.hf.model_max_length == 77
        assert new.hf.padding_side == "left"


class TestRefusals:
    def test_another_choice(self, old, donors):
        with pytest.raises(ValueError, match="special_tokens is 'both': expected 'keep'"):
            new_vocabulary(old, donors["byte_level"], special_tokens="both", keep=[])

    @pytest.mark.parametrize("choice", ["keep", "replace"])
    def test_special_tokens_that_the_old_one_lacks(self, choice, old, donors):
        with pytest.raises(ValueError, match=r"no special tokens \['<x>'\], which keep"):
            new_vocabulary(old, donors["byte_level"], special_tokens=choice, keep=["<x>"])

    @pytest.mark.parametrize("choice", ["keep", "replace"])
    def test_no_eos(self, choice, old, donors):
        bare = replace(old, roles={})
        sides = (bare, donors["byte_level"]) if choice == "keep" else (old, bare)
        with pytest.raises(ValueError, match="has no eos token"):
            new_vocabulary(*sides, special_tokens=choice, keep=[])

    def test_a_model_that_is_not_understood(self, old):
        backend = Tokenizer(models.WordLevel({"<eos>": 0, "a": 1, "[UNK]": 2}, unk_token="[UNK]"))
        backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        backend.add_special_tokens(SPECIALS)
        donor = view(backend)
        with pytest.raises(ValueError, match="type WordLevel, whose special tokens"):
            new_vocabulary(old, donor, special_tokens="keep", keep=[])
