"""Which special tokens a new tokenizer has, and what it does with them."""

from dataclasses import replace

import pytest
from tests.unit.tokenization.conftest import MARKS, ROLES
from tests.unit.tokenization.small_backends import byte_level, view
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from alm_lightning.tokenization.bytes.view import byte_view
from alm_lightning.tokenization.fast import view_of
from alm_lightning.tokenization.new_vocabulary import new_vocabulary

CHAT = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "word words"}]


@pytest.mark.parametrize("name", ["byte_level", "metaspace", "added_words"])
def test_chats_are_written_as_before(name, kept, old):
    new = kept[name]
    written = new.hf.apply_chat_template(CHAT, tokenize=False)
    assert written == old.hf.apply_chat_template(CHAT, tokenize=False)
    ids = new.hf(written, add_special_tokens=False).input_ids
    structure = [index for index in ids if new.token_bytes[index] is None]
    texts = ["<s>", *MARKS, *MARKS]
    assert structure == [new.special_ids[text] for text in texts]
    assert not {*texts} & {*new.hf.decode(ids, skip_special_tokens=True).split()}
    assert "<" not in new.hf.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("name", ["byte_level", "metaspace"])
@pytest.mark.parametrize("prepends", [True, False])
def test_a_bos_is_prepended_where_the_old_one_did(name, prepends, donors, old):
    before = replace(old, prepends_bos=prepends)
    new = new_vocabulary(before, donors[name], special_tokens="keep", keep=[])
    ids = new.hf("hello").input_ids
    assert new.prepends_bos is prepends
    assert (ids[0] == new.roles["bos"]) is prepends
    assert ids[-1] != new.roles["bos"]
    assert new.start_id == new.roles["bos" if prepends else "eos"]


def test_what_is_asked_for_is_kept(donors, old):
    new = new_vocabulary(old, donors["byte_level"], special_tokens="keep", keep=["<mask>"])
    assert list(new.special_ids) == [*ROLES.values(), "<mask>", *MARKS]
    # its roles, and all else that skip_special_tokens has to know
    assert set(new.hf.all_special_tokens) == new.special_ids.keys()


def test_without_a_template_the_marks_of_the_fitting_format_are_kept(donors):
    bare = byte_view(ROLES, ["<mask>", *MARKS], None)
    new = new_vocabulary(bare, donors["byte_level"], special_tokens="keep", keep=[])
    assert new.special_ids.keys() == {*ROLES.values(), *MARKS}
    assert new.hf.chat_template is None


def test_a_special_token_swallows_the_whitespace_it_swallowed(donors):
    backend = byte_level()
    backend.add_special_tokens([AddedToken("<|end|>", rstrip=True, normalized=False)])
    before = view(backend)
    new = new_vocabulary(before, donors["metaspace"], special_tokens="keep", keep=["<|end|>"])
    ids = new.hf("<|end|> \n the", add_special_tokens=False).input_ids
    assert ids == [new.special_ids["<|end|>"], *new.encode("the", continued=True).ids]


def test_replace_has_the_new_tokenizers_own(donors, old):
    donor = donors["byte_level"]
    template = "{{ messages[0]['content'] }}"
    donor.hf.chat_template = template
    try:
        new = new_vocabulary(old, donor, special_tokens="replace", keep=["<mask>"])
    finally:
        donor.hf.chat_template = None
    assert new.special_ids == donor.special_ids
    assert new.token_bytes == donor.token_bytes
    assert not new.prepends_bos
    assert new.hf.chat_template == template
    # it has no pad token
    assert new.roles == donor.roles | {"pad": donor.roles["eos"]}
    assert (new.hf.pad_token, new.hf.bos_token) == ("<eos>", "<bos>")
    assert (donor.hf.pad_token, "pad" in donor.roles) == (None, False)


def test_eos_plays_no_bos_that_a_template_would_write(old):
    hf = PreTrainedTokenizerFast(tokenizer_object=byte_level(), eos_token="<eos>")
    silent = view_of(hf, name="silent")
    roles = {"bos", "eos", "pad"}
    assert new_vocabulary(old, silent, special_tokens="replace", keep=[]).roles.keys() == roles
    hf.chat_template = "{{ bos_token }}{{ messages[0]['content'] }}"
    new = new_vocabulary(old, silent, special_tokens="replace", keep=[])
    assert new.roles.keys() == {"eos", "pad"}
    assert new.hf.apply_chat_template(CHAT, tokenize=False) == "hello"
    other_way = new_vocabulary(silent, old, special_tokens="keep", keep=[])
    assert other_way.hf.apply_chat_template(CHAT, tokenize=False) == "hello"
