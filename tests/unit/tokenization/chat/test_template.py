"""Templates: what they write, told apart into structure and content; which one a tokenizer gets."""

import pytest

from alm_lightning.corpus.chat import BadChat, Chat
from alm_lightning.corpus.document import BadDocument
from alm_lightning.tokenization.bytes.view import byte_view
from alm_lightning.tokenization.chat.choice import template_of
from alm_lightning.tokenization.chat.formats import FORMATS

TOKENS = {name: format.special_tokens for name, format in FORMATS.items()}
CHAT = [("system", "S"), ("user", "U"), ("assistant", "A"), ("user", "V"), ("assistant", "B")]
EXPECTED = {
    "chatml": (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA"
        "<|im_end|>\n<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\nB<|im_end|>\n"
    ),
    "gemma": (
        "<bos><start_of_turn>user\nS\n\nU<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n"
        "<start_of_turn>user\nV<end_of_turn>\n<start_of_turn>model\nB<end_of_turn>\n"
    ),
    "llama3": (
        "<bos><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nU<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nA<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nV<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nB<|eot_id|>"
    ),
    "mistral": "<bos>[INST] S\n\nU[/INST] A<eos>[INST] V[/INST] B<eos>",
}
EXPECTED["deepseek"] = "<bos>S<｜User｜>U<｜Assistant｜>A<eos><｜User｜>V<｜Assistant｜>B<eos>"
EXPECTED["qwen"] = EXPECTED["chatml"]
GIVEN = "{% for m in messages %}<{{ m.role }}>{{ m.content }};{% endfor %}"


def chat_of(*pairs, name="c:1"):
    return Chat.of([{"role": role, "content": content} for role, content in pairs], name)


def view_with(*specials, template=None):
    return byte_view(other_specials=specials, chat_template=template)


def spelled(rendering):
    parts = [rendering.gaps[0]]
    for content, gap in zip(rendering.contents, rendering.gaps[1:], strict=True):
        parts += [content, gap]
    return "".join(parts)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_named_formats(name):
    template = template_of(view_with(*TOKENS[name]), name)
    rendering = template.render(chat_of(*CHAT))
    assert spelled(rendering) == EXPECTED[name]
    assert rendering.contents == ("S", "U", "A", "V", "B")
    # contents that look like structure change nothing of it
    awkward = [("user", "<|im_end|>\nuser\n"), ("assistant", "S\n\nU[/INST]<end_of_turn>")]
    plain = [("user", "U"), ("assistant", "A")]
    gaps = [template.render(chat_of(*chat)).gaps for chat in (awkward, plain)]
    assert gaps[0] == gaps[1]


def test_qwen_says_who_it_is_where_nobody_does():
    rendering = template_of(view_with(*TOKENS["qwen"]), "qwen").render(chat_of(("user", "U")))
    head = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    assert rendering.gaps == (head, "<|im_end|>\n")


@pytest.mark.parametrize("name", ["gemma", "mistral"])
def test_roles_that_do_not_alternate_are_refused_in_the_templates_own_words(name):
    template = template_of(view_with(*TOKENS[name]), name)
    with pytest.raises(BadChat, match=f"c:1: the chat template '{name}' refuses it: user and as"):
        template.render(chat_of(("user", "U"), ("user", "V")))


@pytest.mark.parametrize(
    ("jinja", "expected"),
    [
        ("<{{ m.content | trim }}>", "U x"),
        ("<{{ m.content.rstrip() }}>", " \nU x"),
        ("<{{ m.content.lstrip() }}>", "U x\n "),
        # line ends alone: the spaces before and behind them stay
        ("<{{ m.content.strip('\n') }}>", " \nU x\n "),
        # what it strips can't be told from what it writes afterwards, except by the whole
        ("<{{ m.content | trim }}\n >", "U x"),
        ("<{{ m.content }}\n >", " \nU x\n "),
    ],
)
def test_stripping_is_noticed(jinja, expected):
    template = template_of(view_with(), f"{{% for m in messages %}}{jinja}{{% endfor %}}")
    rendering = template.render(chat_of(("user", " \nU x\n "), ("user", "")))
    assert rendering.contents == (expected, "")
    assert spelled(rendering) == template.write(
        chat_of(("user", " \nU x\n "), ("user", "")).messages
    )


def test_line_ends_are_stripped_and_spaces_stay():
    template = template_of(view_with(), "{{ messages[0].content.strip('\n') }};")
    assert template.render(chat_of(("user", "\n\n  U \n"))).contents == ("  U ",)


LOOKALIKES = [
    "\ue0000\ue001",
    "\ue0001\ue001\ue0000\ue001",
    "assistant\n",
    "<|im_end|>\n<|im_start|>user\n",
    "<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n",
    "",
]


@pytest.mark.parametrize("name", ["chatml", "llama3", "gemma", "mistral"])
@pytest.mark.parametrize("content", LOOKALIKES)
def test_contents_that_look_like_structure_or_placeholders(name, content):
    template = template_of(view_with(*TOKENS[name]), name)
    chat = chat_of(("user", content), ("assistant", content), ("user", "U"))
    rendering = template.render(chat)
    # a format that strips takes the line end off the last of them
    expected = content.strip() if name in ("gemma", "llama3") else content
    assert rendering.contents == (expected, expected, "U")
    assert spelled(rendering) == template.write(chat.messages)


def test_a_template_that_drops_thoughts_is_refused_and_says_where():
    jinja = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{{ m.content.split('</think>')[-1].lstrip('\n') }}<|im_end|>\n{% endfor %}"
    )
    template = template_of(view_with(*TOKENS["chatml"]), jinja)
    plain = chat_of(("user", "U"), ("assistant", "\n\nSix."))
    assert template.render(plain).contents == ("U", "Six.")
    chat = chat_of(("user", "U"), ("assistant", "<think>\n1+5\n</think>\n\nSix."))
    with pytest.raises(BadChat, match=r"c:1, message 1 \(assistant\).*not write the content") as e:
        template.render(chat)
    # where in the text, and what is there
    assert "at character 51 of what it writes" in str(e.value)
    assert "Six." in str(e.value)


@pytest.mark.parametrize(
    ("jinja", "message"),
    [
        ("{{ m.content.split('</t>')[-1] }}", r"message 1 \(assistant\).*not write the content"),
        ("{{ m.content | replace('b', 'c') }}", r"message 1 \(assistant\).*at character 1 of"),
        ("{{ m.content }}{{ m.content }}", "repeats or reorders message 0"),
        ("{{ m.role }}", r"leaves out message 0 \(user\) of roles user, assistant"),
        ("{{ 'x' if m.content == 'U' }}{{ m.content }}", r"message 0 \(user\).*not write"),
        ("{{ raise_exception('not ' + m.role) }}", "refuses it: not user"),
        ("{{ m.content + 1 }}", "refuses it: can only concatenate str"),
        ("{{ m.content[0].text.x }}", "refuses it: .* has no attribute 'text'"),
    ],
)
def test_what_is_not_written_as_it_is_is_refused(jinja, message):
    template = template_of(view_with(), f"{{% for m in messages %}}{jinja}{{% endfor %}}")
    with pytest.raises(BadChat, match=message) as error:
        template.render(chat_of(("user", "U"), ("assistant", "<t>a</t>b")))
    assert str(error.value).startswith("c:1")
    assert "the chat template that was given" in str(error.value)


def test_reordered_contents_are_refused():
    template = template_of(
        view_with(), "{% for m in messages | reverse %}{{ m.content }}{% endfor %}"
    )
    with pytest.raises(BadChat, match=r"c:1: .* repeats or reorders message 1"):
        template.render(chat_of(("user", "U"), ("assistant", "A")))


def test_what_a_template_adds_at_the_end_is_noticed():
    template = template_of(view_with(), "{{ messages[0].content }}{{ messages[0].content[1:2] }}")
    with pytest.raises(BadChat, match=r"expected 'U0' there, found 'U'\."):
        template.render(chat_of(("user", "U")))


def test_invalid_jinja_is_no_fault_of_the_chat():
    with pytest.raises(ValueError, match="that was given is not valid Jinja") as error:
        template_of(view_with(), "{% for m in %}").render(chat_of(("user", "U")))
    assert not isinstance(error.value, BadDocument)


DATED = "{%- if strftime_now is defined %}{% set d = strftime_now('%d %b %Y') %}{% endif %}{{ d }};"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("{{ date_string }};", "26 Jul 2024;"),
        (DATED, "26 Jul 2024;"),
        ("{{ strftime_now('%A, %-d %B %Y, %H:%M') }};", "Friday, 26 July 2024, 00:00;"),
        ("{% macro today() %}{{ strftime_now('%F') }}{% endmacro %}{{ today() }};", "2024-07-26;"),
    ],
)
def test_today_is_always_the_same_day(head, expected):
    template = template_of(view_with(), f"{head}{GIVEN}")
    assert template.render(chat_of(("user", "U"))).gaps == (f"{expected}<user>", ";")


@pytest.mark.parametrize(
    "head", ["  {% if true %}\nx{% endif %}", "\n\n x", "{{ 1 }}\n\n", " {%- if 1 %} {% endif %}"]
)
def test_a_date_changes_nothing_else_of_a_template(head):
    view, chat = view_with(), chat_of(("user", "U"))
    plain = template_of(view, f"{head}{GIVEN}").render(chat).gaps
    dated = template_of(view, f"{head}{GIVEN}{{{{ strftime_now('%Y') }}}}").render(chat).gaps
    assert dated == (plain[0], f"{plain[1]}2024")


def test_bytes_have_a_template_of_their_own():
    rendering = template_of(byte_view(), None).render(chat_of(*CHAT[:3]))
    assert rendering.gaps == ("<bos>system\n", "<eos>user\n", "<eos>assistant\n", "<eos>")
