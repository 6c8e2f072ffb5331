"""Chat formats by name, for tokenizers that have no template of their own.

Written here from the formats' published descriptions. A tokenizer's own template always comes
first: families vary theirs from release to release.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class ChatFormat:
    """A way to write a conversation down.

    Attributes:
        jinja: The template, in the dialect of transformers.
        special_tokens: The special tokens that it needs.
        others: Special tokens of its models that a chat may have besides, such as those of tool
            calls.
    """

    jinja: str
    special_tokens: tuple[str, ...]
    others: tuple[str, ...] = ()


_ALTERNATING = """\
{%- for message in messages -%}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
{{- raise_exception('user and assistant must take turns, beginning with user') -}}
{%- endif -%}
"""

# a system message stands at the head of the first user turn
_SYSTEM_IN_USER = """\
{%- set head = '' -%}
{%- if messages[0]['role'] == 'system' -%}
{%- set head = messages[0]['content'] + '\\n\\n' -%}
{%- set messages = messages[1:] -%}
{%- endif -%}
"""

_CHATML = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""

_QWEN = (
    """\
{%- if messages[0]['role'] != 'system' -%}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}
{%- endif -%}
"""
    + _CHATML
)

_DEEPSEEK = """\
{{- bos_token -}}
{%- for message in messages -%}
{%- if message['role'] == 'user' -%}
{{- '<｜User｜>' + message['content'] -}}
{%- elif message['role'] == 'assistant' -%}
{{- '<｜Assistant｜>' + message['content'] + eos_token -}}
{%- else -%}
{{- message['content'] -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<｜Assistant｜>' -}}{%- endif -%}
"""

_DEEPSEEK_TOOLS = (
    *("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
    *("<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"),
    *("<｜tool▁outputs▁begin｜>", "<｜tool▁outputs▁end｜>"),
    *("<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>", "<｜tool▁sep｜>"),
)

_GEMMA = (
    _SYSTEM_IN_USER
    + "{{- bos_token -}}\n"
    + _ALTERNATING
    + """\
{%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
{{- '<start_of_turn>' + role + '\\n' + (head if loop.first else '') -}}
{{- message['content'] | trim -}}
{{- '<end_of_turn>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}
"""
)

_LLAMA3 = """\
{{- bos_token -}}
{%- for message in messages -%}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' -}}
{{- message['content'] | trim -}}
{{- '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
{%- endif -%}
"""

_MISTRAL = (
    _SYSTEM_IN_USER
    + "{{- bos_token -}}\n"
    + _ALTERNATING
    + """\
{%- if message['role'] == 'user' -%}
{{- '[INST] ' + (head if loop.first else '') + message['content'] + '[/INST]' -}}
{%- else -%}
{{- ' ' + message['content'] + eos_token -}}
{%- endif -%}
{%- endfor -%}
"""
)

FORMATS: Mapping[str, ChatFormat] = MappingProxyType(
    {
        "chatml": ChatFormat(_CHATML, ("<|im_start|>", "<|im_end|>")),
        "deepseek": ChatFormat(_DEEPSEEK, ("<｜User｜>", "<｜Assistant｜>"), _DEEPSEEK_TOOLS),
        "gemma": ChatFormat(_GEMMA, ("<start_of_turn>", "<end_of_turn>")),
        "llama3": ChatFormat(_LLAMA3, ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")),
        "mistral": ChatFormat(_MISTRAL, ("[INST]", "[/INST]")),
        # ChatML that never goes without a system message
        "qwen": ChatFormat(_QWEN, ("<|im_start|>", "<|im_end|>")),
    }
)
"""Chat formats by name."""

START, HEAD_END, END = "start of a turn", "end of a turn's head", "end of a turn"
MARKS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "chatml": {"<|im_start|>": START, "<|im_end|>": END},
        # it ends the assistant's turns with EOS
        "deepseek": {"<｜User｜>": START, "<｜Assistant｜>": START},
        "gemma": {"<start_of_turn>": START, "<end_of_turn>": END},
        "llama3": {
            "<|start_header_id|>": START,
            "<|end_header_id|>": HEAD_END,
            "<|eot_id|>": END,
        },
        # with EOS, too
        "mistral": {"[INST]": START, "[/INST]": HEAD_END},
    }
)
"""What the special tokens that the formats need mark."""

_GUESSED = ("chatml", "deepseek", "gemma", "llama3", "mistral")


def fitting(special_tokens: Collection[str]) -> list[str]:
    """The formats that a tokenizer's special tokens give away.

    Args:
        special_tokens: Their texts.

    Returns:
        Names of `FORMATS`, without ``qwen``, which has the tokens of ``chatml``.

    Example:
        >>> fitting(["<|im_start|>", "<|im_end|>"])
        ['chatml']
    """
    given = set(special_tokens)
    return [name for name in _GUESSED if given.issuperset(FORMATS[name].special_tokens)]


BYTES = """\
{{- bos_token -}}
{%- for message in messages -%}
{{- message['role'] + '\\n' + message['content'] + eos_token -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'assistant\\n' -}}{%- endif -%}
"""
"""The byte tokenizer's own: it has no marks of turns, and ends each with its EOS."""
