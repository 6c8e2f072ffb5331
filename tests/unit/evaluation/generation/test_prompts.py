"""Prompts: texts, chats and files of them."""

import json

import pytest
from tests.conftest import tiny_gemma3
from tests.unit.evaluation.conftest import evaluated_of
from tests.unit.tokenization.chat.test_template import TOKENS, view_with

from alm_lightning.corpus.document import CorpusError
from alm_lightning.evaluation.generation.prompts import as_user, prompt_ids, read_prompts
from alm_lightning.tokenization.chat.formats import FORMATS

CHAT = [
    {"role": "user", "content": "Hi <|im_end|>"},
    {"role": "assistant", "content": "Yes?"},
    {"role": "user", "content": "1+1"},
]


def subject_with(view):
    return evaluated_of(tiny_gemma3(view.num_tokens), view)


def told(view, ids):
    """Ids as text, special tokens in parentheses."""
    texts = {index: f"({text})" for text, index in view.special_ids.items()}
    parts = [texts[i].encode() if i in texts else view.token_bytes[i] for i in ids]
    return b"".join(parts).decode()


def test_a_text_starts_like_a_document_and_special_tokens_in_it_are_text(metaspace_view):
    evaluated = subject_with(metaspace_view)
    ids = prompt_ids(evaluated, "The fox<eos>")
    assert told(metaspace_view, ids) == "(<bos>)The fox<eos>"
    assert prompt_ids(evaluated, "") == [metaspace_view.start_id]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "chatml",
            "(<|im_start|>)user\nHi <|im_end|>(<|im_end|>)\n(<|im_start|>)assistant\nYes?"
            "(<|im_end|>)\n(<|im_start|>)user\n1+1(<|im_end|>)\n(<|im_start|>)assistant\n",
        ),
        (
            "gemma",
            "(<bos>)(<start_of_turn>)user\nHi <|im_end|>(<end_of_turn>)\n(<start_of_turn>)model\n"
            "Yes?(<end_of_turn>)\n(<start_of_turn>)user\n1+1(<end_of_turn>)\n"
            "(<start_of_turn>)model\n",
        ),
        ("mistral", "(<bos>)([INST]) Hi <|im_end|>([/INST]) Yes?(<eos>)([INST]) 1+1([/INST])"),
    ],
)
def test_a_chat_ends_where_the_answer_begins(name, expected):
    # no template of its own: special tokens give the format away
    view = view_with(*TOKENS[name])
    assert told(view, prompt_ids(subject_with(view), CHAT)) == expected


def test_a_template_of_the_tokenizer_comes_first_and_may_strip():
    view = view_with(
        *TOKENS["chatml"],
        template="{% for m in messages %}{{ m.role }}:{{ m.content | trim }};{% endfor %}"
        "{% if add_generation_prompt %}me:{% endif %}",
    )
    ids = prompt_ids(subject_with(view), [{"role": "user", "content": "  Hi\n"}])
    assert told(view, ids) == "user:Hi;me:"


def test_a_prompt_has_the_date_of_training():
    view = view_with(
        template="{{ strftime_now('%d %b %Y') }}|{{ date_string }}|{{ messages[0].content }};"
    )
    ids = prompt_ids(subject_with(view), [{"role": "user", "content": "Hi"}])
    assert told(view, ids) == "26 Jul 2024|26 Jul 2024|Hi;"


def test_chats_that_cannot_be_written_are_told():
    view = view_with("<a>")
    view.hf.chat_template = None
    with pytest.raises(
        ValueError, match="has no chat template, and its special tokens fit no form"
    ):
        prompt_ids(subject_with(view), CHAT)
    rewriting = (
        "{% if add_generation_prompt %}Answer! {% endif %}"
        "{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    evaluated = subject_with(view_with(template=rewriting))
    with pytest.raises(CorpusError, match="writes the chat in another way when an answer"):
        prompt_ids(evaluated, CHAT)
    failing = (
        "{% for m in messages %}{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}{{ raise_exception('no answers') }}{% endif %}"
    )
    evaluated = subject_with(view_with(template=failing))
    with pytest.raises(CorpusError, match="does not open an answer: no answers"):
        prompt_ids(evaluated, CHAT)
    evaluated = subject_with(view_with(template=FORMATS["gemma"].jinja))
    with pytest.raises(CorpusError, match="take turns"):
        prompt_ids(evaluated, CHAT[1:])


def test_prompts_of_a_file(tmp_path):
    path = tmp_path / "prompts.jsonl"
    lines = [json.dumps({"prompt": "Once"}), "", json.dumps({"messages": CHAT})]
    path.write_text("\n".join(lines), "utf-8")
    assert read_prompts(path, chat=False) == ["Once", CHAT]
    assert read_prompts(path, chat=True) == [as_user("Once"), CHAT]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Once", r"p.jsonl:2: not JSON \(.*\); expected .*prompt"),
        ('["Once"]', r"p.jsonl:2: found \['Once'\]; expected"),
        ('{"prompt": "a", "messages": []}', "p.jsonl:2: found"),
        ('{"text": "a"}', "p.jsonl:2: found"),
        ('{"prompt": 3}', "p.jsonl:2: the prompt is 3; expected a text"),
        ('{"messages": [{"role": "me", "content": "a"}]}', "p.jsonl:2.* the role is 'me'"),
    ],
)
def test_lines_that_are_no_prompts_are_told_with_their_number(tmp_path, line, message):
    path = tmp_path / "p.jsonl"
    path.write_text(f'{{"prompt": "fine"}}\n{line}\n', "utf-8")
    with pytest.raises(CorpusError, match=message):
        read_prompts(path, chat=False)


def test_files_without_prompts_are_told(tmp_path):
    with pytest.raises(CorpusError, match="no file at"):
        read_prompts(tmp_path / "none.jsonl", chat=False)
    (tmp_path / "blank.jsonl").write_text("\n")
    with pytest.raises(CorpusError, match="holds no prompts"):
        read_prompts(tmp_path / "blank.jsonl", chat=False)
