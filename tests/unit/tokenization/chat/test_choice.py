"""Which template a tokenizer gets: its own, a named or given one, or what its tokens give away."""

import logging

import pytest
from tests.unit.tokenization.chat.test_template import GIVEN, TOKENS, chat_of, view_with
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from alm_lightning.corpus.document import BadDocument
from alm_lightning.tokenization.bytes.fast import byte_tokenizer
from alm_lightning.tokenization.bytes.view import byte_view, byte_view_like
from alm_lightning.tokenization.chat.choice import template_of
from alm_lightning.tokenization.chat.formats import FORMATS
from alm_lightning.tokenization.fast import view_of


def test_the_tokenizers_own_template_comes_first():
    view = view_with(*TOKENS["chatml"], template=GIVEN)
    template = template_of(view, None)
    assert template.name == "of tokenizer 'bytes'"
    assert template.render(chat_of(("user", "U"))).gaps == ("<user>", ";")
    view = view_with(template={"tool_use": "{{ 1 }}", "default": GIVEN})
    assert template_of(view, None).jinja == GIVEN


@pytest.mark.parametrize("name", ["chatml", "deepseek", "gemma", "llama3", "mistral"])
def test_special_tokens_give_a_format_away(name, caplog):
    with caplog.at_level(logging.WARNING):
        view = view_with(*TOKENS[name])
        assert template_of(view, None).jinja == FORMATS[name].jinja
        assert template_of(view, None) is template_of(view, None)
    said = [record.message for record in caplog.records]
    assert len(said) == 1
    assert f"taking the format '{name}'" in said[0]


@pytest.mark.parametrize(
    ("specials", "message"),
    [
        (
            (),
            "fit no format that is known here. Choose one .*: chatml, deepseek, gemma, llama3, mi",
        ),
        ((*TOKENS["chatml"], *TOKENS["mistral"]), "fit chatml and mistral"),
    ],
)
def test_without_a_template_one_has_to_be_chosen(specials, message):
    with pytest.raises(ValueError, match=message) as error:
        template_of(view_with(*specials), None)
    assert not isinstance(error.value, BadDocument)


def test_a_choice_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"'gemma' needs .* <start_of_turn>, <end_of_turn>, which"):
        template_of(view_with(), "gemma")
    with pytest.raises(ValueError, match=r"no chat format 'vicuna'\. Take one of chatml, deep"):
        template_of(view_with(), "vicuna")
    backend = byte_tokenizer(["<b>", "<e>"], bos="<b>", eos="<e>", pad="<e>").backend_tokenizer
    backend.add_special_tokens([AddedToken(text, special=True) for text in TOKENS["mistral"]])
    bare = view_of(PreTrainedTokenizerFast(tokenizer_object=backend), name="bare")
    with pytest.raises(ValueError, match="needs the special tokens bos_token, eos_token, which"):
        template_of(bare, "mistral")


def test_bytes_take_over_an_old_template(caplog):
    old = view_with(*TOKENS["gemma"], template=FORMATS["gemma"].jinja)
    assert byte_view_like(old, TOKENS["gemma"]).hf.chat_template == FORMATS["gemma"].jinja
    assert not caplog.records
    # where none is named, what the template writes is kept
    assert byte_view_like(old, None).hf.chat_template == FORMATS["gemma"].jinja
    assert {*TOKENS["gemma"]} < {*byte_view_like(old, None).special_ids}
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    assert byte_view_like(old, TOKENS["gemma"][:1]).hf.chat_template == FORMATS["gemma"].jinja
    assert "writes the special tokens <end_of_turn>, which the byte" in caplog.text
    bare = view_with(*TOKENS["gemma"])
    # the same format is given away on both sides, and said when a chat is met
    assert byte_view_like(bare, TOKENS["gemma"]).hf.chat_template is None
    assert template_of(byte_view_like(bare, []), None).jinja == byte_view().hf.chat_template
