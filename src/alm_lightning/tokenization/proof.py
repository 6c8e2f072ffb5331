"""The proof of a byte table: awkward texts, encoded, must come back byte for byte.

Bytes of tokens are read off a vocabulary by the conventions of a family. A tokenizer that keeps to
other conventions would give wrong chunks without a sign; so each view is tried before it is used.
"""

import dataclasses
import logging

from alm_lightning.tokenization.view import TokenizerView

log = logging.getLogger(__name__)

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
    "names of special tokens": "<s>x</s> <bos> <|endoftext|> [INST] [UNK] <unk> <0x41>",
}
"""Texts that some tokenizer changes or loses, by what is awkward about them."""


def prove(view: TokenizerView) -> TokenizerView:
    """A view whose byte table was tried, and that knows what it loses.

    Args:
        view: The view.

    Returns:
        The same view, with `losses` filled in. A tokenizer that loses something is logged.

    Raises:
        ValueError: If its tokens do not spell what its own decoder makes of them.
    """
    losses = []
    for what, text in AWKWARD.items():
        encoding = view.encode(text)
        spelled = view.table.spelled(encoding.ids).tobytes().decode("utf-8", "replace")
        decoded = view.encoder.decode(encoding.ids)
        # but for a dummy space, which decoders take away
        is_exact = spelled in (text, " " + text)
        if is_exact and decoded.removeprefix(" ") != text.removeprefix(" "):
            raise ValueError(
                f"tokenizer {view.name!r}: the bytes of its tokens are not understood. Of {what} "
                f"({text!r}), its tokens {encoding.ids[:20].tolist()} spell {spelled!r} here, but "
                f"its own decoder says {decoded!r}. docs/tokenizers.md says how to add a tokenizer."
            )
        if encoding.unknown is not None:
            losses.append(f"{what}: no token for a part of {text!r}")
        elif not is_exact:
            losses.append(f"{what}: {text!r} is read as {spelled!r}")
    if losses:
        log.warning(
            "tokenizer %s does not give every text back as it was:\n  %s",
            view.name,
            "\n  ".join(losses),
        )
    return dataclasses.replace(view, losses=tuple(losses))
