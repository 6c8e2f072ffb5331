"""What a bare tokenizer gets before a model can use it: roles, a start token, a template."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer, processors
from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class TokenizerOverrides:
    """What a tokenizer file may leave open, and its user says.

    Attributes:
        bos: The token that begins a text; None keeps what the file says.
        eos: The token that ends a text; None keeps what the file says.
        pad: The token that fills rows up; None keeps what the file says.
        prepend_bos: Whether encoding puts `bos` before a text; None keeps what the file says.
        chat_template: A template in Jinja; None keeps what the file says.
    """

    bos: str | None = None
    eos: str | None = None
    pad: str | None = None
    prepend_bos: bool | None = None
    chat_template: str | None = None

    def over(self, file: "TokenizerOverrides") -> "TokenizerOverrides":
        """This one where it says something, else that of the file."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        return TokenizerOverrides(**(vars(file) | given))


def fast_tokenizer(backend: Tokenizer, **settings: Any) -> PreTrainedTokenizerFast:
    """A tokenizer of transformers around one of `tokenizers`, with its further settings.

    It pads on the left, as generation needs it.
    """
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        **settings,
    )


def apply_overrides(
    tokenizer: PreTrainedTokenizerFast, overrides: TokenizerOverrides, name: str
) -> PreTrainedTokenizerFast:
    """Sets roles, start token and template of a fast tokenizer, which is returned.

    Errors call it by `name`: a ValueError where a role is given to a text that is not a special
    token, or BOS is to be prepended and there is none.
    """
    special = {
        token.content
        for token in tokenizer.backend_tokenizer.get_added_tokens_decoder().values()
        if token.special
    }
    for role, content in (("bos", overrides.bos), ("eos", overrides.eos), ("pad", overrides.pad)):
        if content is None:
            continue
        if content not in special:
            raise ValueError(
                f"{role} of tokenizer {name!r} must be a special token, but {content!r} is none of "
                f"its special tokens {_shown(sorted(special))}. Correct {role}, or name the token "
                "in special_tokens."
            )
        setattr(tokenizer, f"{role}_token", content)
    if overrides.chat_template is not None:
        tokenizer.chat_template = overrides.chat_template
    if overrides.prepend_bos is not None:
        bos = tokenizer.bos_token
        if overrides.prepend_bos and bos is None:
            raise ValueError(
                f"tokenizer {name!r} has no BOS to prepend. Give bos as well, or set "
                "prepend_bos to false."
            )
        start = [bos] if overrides.prepend_bos else []
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=[*start, "$A"],
            pair=[*start, "$A", *(f"{token}:1" for token in start), "$B:1"],
            special_tokens=[(token, tokenizer.bos_token_id) for token in start],
        )
    return tokenizer


def _shown(names: Sequence[str], limit: int = 8) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(repr, names[:limit])) + more if names else "(there are none)"
