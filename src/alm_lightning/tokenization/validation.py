"""The validation of a byte table: awkward texts, encoded, must come back byte for byte.

Bytes of tokens are read off a vocabulary by the conventions of a family. A tokenizer that keeps to
other conventions would silently give wrong chunks; so each view is tried before it is used.
"""

import dataclasses
import logging

from alm_lightning.tokenization.view import TokenizerView

log = logging.getLogger(__name__)

NAMES = "names of special tokens"
"""Of these some tokenizers make the tokens that they name: that is no fault of a table."""
AWKWARD = {
    "a word": "word",
    "words and punctuation": "Hello, world! It's 3.14 (or so) - isn't it?",
    "leading whitespace": " hello world",
    "trailing whitespace": "hello \n",
    "runs of spaces": "a  b   c        d",
    "tabs and line ends": "\n\n  if x:\r\n\t\treturn\t1\n",
    "capitals": "SHOUTING CamelCase",
    "digits": "1234567890 1,000,000",
    "accents": "café Größe naïve",
    "decomposed accents": "cafe\u0301 n\u0303",
    "decomposed Hangul": "\u1112\u1161\u11ab\u1100\u1173\u11af",
    "compatibility characters": "\uff21\uff22\uff23 \ufb01ne \u2460 x\u00b2 \u00bd",
    "CJK": "日本語のテキスト。中文",
    "CJK beyond the basic plane": "\U00020000\U0002a6d6",
    "other scripts": "Привет שלום مرحبا नमस्ते ไทย",
    "emoji with joiners and modifiers": "👩\u200d👩\u200d👧 👍🏽 🇩🇪 ❤\ufe0f",
    "U+2581": "a\u2581b \u2581\u2581c",
    "control characters": "\x00\x01\x7f\x85\u00a0\u200b\ufeff\u2028",
    "unassigned and private characters": "\u0378\ue000\U0010ffff\ufffd",
    NAMES: "<s>x</s> <bos> <|endoftext|> [INST] [UNK] <unk> <0x41>",
}
"""Texts that some tokenizer changes or loses, by what is awkward about them."""


def validate_byte_table(view: TokenizerView) -> TokenizerView:
    """The view, with its byte table checked on awkward texts.

    What the tokenizer loses is logged, and is in `losses` of the view that is returned. A
    ValueError if its tokens do not spell what its own decoder makes of them, or spell what is not
    in the text.
    """
    losses = []
    for what, text in AWKWARD.items():
        encoding = view.encode(text)
        content, spelled = text.encode("utf-8"), view.table.spelled(encoding.ids).tobytes()
        # but for a dummy space
        is_exact = spelled in (content, b" " + content)
        if is_exact:
            decoded = view.encoder.decode(encoding.ids)
            if _visible(decoded.encode()) != _visible(content):
                raise _not_understood(view, what, spelled, f"its own decoder says {decoded!r}")
        elif what != NAMES:
            normal = view.encoder.spell(text)
            if not _is_within(_visible(spelled), _visible(normal)):
                says = f"its normaliser makes {_shown(normal)} of it"
                raise _not_understood(view, what, spelled, says)
        if encoding.unknown is not None:
            losses.append(f"{what}: no token for a part of {text!r}")
        elif not is_exact:
            losses.append(f"{what}: {text!r} is read as {_shown(spelled)}")
    if losses:
        log.warning(
            "tokenizer %s does not give every text back as it was:\n  %s",
            view.name,
            "\n  ".join(losses),
        )
    return dataclasses.replace(view, losses=tuple(losses))


def _not_understood(view: TokenizerView, what: str, spelled: bytes, but: str) -> ValueError:
    text = AWKWARD[what]
    return ValueError(
        f"tokenizer {view.name!r}: the bytes of its tokens are not understood. Of {what} "
        f"({text!r}), its tokens {view.encode(text).ids[:20].tolist()} spell {_shown(spelled)} "
        f"here, but {but}. Its decoder may be missing, or be that of another tokenizer; "
        "docs/tokenizers.md says how to add one."
    )


def _shown(spelled: bytes) -> str:
    return repr(spelled.decode("utf-8", "replace"))


def _visible(spelled: bytes) -> bytes:
    """Bytes without whitespace: decoders put some in and take some away."""
    return b"".join(spelled.split())


def _is_within(part: bytes, whole: bytes) -> bool:
    """Whether bytes are others with some left out: what has no token may be dropped."""
    rest = iter(whole)
    return all(byte in rest for byte in part)
