"""What is text and what is structure in a vocabulary: by what tokens stand for, not by their flags.

The flag `special` of a tokenizer.json says how a token is parsed and whether decoding leaves it
out. People set it on tokens that texts consist of: on ``<0x0A>`` (huggingface/tokenizers, issue
1407), on ``!`` to pad with, on a line end. A role's token may lack it, as may the marks of a chat
(DeepSeek's). So each added token is classified:

* the BOS, the EOS, the unknown token and the marks of a chat format, those of tool calls among
  them, are structure;
* ``<0xNN>``, in a family that reads it so, is a byte;
* whitespace is text;
* what the merges of BPE lead to is text: they were learned from text, which has no special tokens.
  Other models look whole pieces up, so that nothing tells a word from a special token. There the
  flag is believed.
"""

import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tokenizers import Tokenizer, models

from alm_lightning.tokenization.chat.formats import FORMATS, MARKS, fitting
from alm_lightning.tokenization.surface import (
    BYTE_FALLBACK,
    ReadPiece,
    normal_bytes,
    sentencepiece_piece,
)

log = logging.getLogger(__name__)

BEYOND = "\uffff"
"""No character: with it behind a piece, the model finds no whole word, and has to merge."""
SHOWN = 5
"""Tokens that a message lists."""


@dataclass(frozen=True)
class TokenClasses:
    """The added tokens of a vocabulary, by what they are.

    Attributes:
        special_ids: Structure: from the text of a token to its id, in the order of ids.
        literal_ids: Added tokens that stand for their own text, and are no piece of the model's.
        flags: By the text of a token, whether a tokenizer that takes texts for content needs it to
            be special, where its tokenizer.json says otherwise.
    """

    special_ids: Mapping[str, int]
    literal_ids: frozenset[int]
    flags: Mapping[str, bool]


def classify_tokens(
    backend: Tokenizer,
    *,
    roles: Mapping[str, int],
    unknown: Mapping[str, int],
    read_piece: ReadPiece,
    name: str,
) -> TokenClasses:
    """Which added tokens of a tokenizer are structure, and which are text.

    Args:
        backend: The tokenizer, which cuts one text in one way.
        roles: The ids of ``bos``, ``eos`` and ``pad``. The token that pads may turn out to be text.
        unknown: The text of the unknown token and its id, if there is one.
        read_piece: From `piece_reader`.
        name: What the log calls the tokenizer.

    Returns:
        What is structure, and which flags say otherwise.
    """
    added = backend.get_added_tokens_decoder()
    flagged = {token.content for token in added.values() if token.special}
    merged_ids = _merged({i: token.content for i, token in added.items()}, backend.model)
    believed = {index for role, index in roles.items() if role != "pad"} | {*unknown.values()}
    # a format's marks write chats, even where a conversion has put them together by merges, or
    # where they are not listed as special
    formats = fitting([token.content for token in added.values()])
    marks = {text for chosen in formats for text in [*MARKS[chosen], *FORMATS[chosen].others]}
    structure = {backend.id_to_token(i) or "": i for i in roles.values()} | dict(unknown)
    texts, literal_ids, flags = [], set(), {}
    for index, token in added.items():
        content = token.content
        is_byte = read_piece is sentencepiece_piece and bool(BYTE_FALLBACK.fullmatch(content))
        is_piece = is_byte or index in merged_ids
        if not is_piece:
            literal_ids.add(index)
        wanted = token.special
        if content in flagged or content in structure or content in marks:
            is_text = is_piece or content.isspace()
            is_text &= index not in believed and content not in marks
            if is_text:
                texts.append(content)
                structure.pop(content, None)
                # the model itself gives its pieces; other whitespace has to be looked for
                wanted = is_piece
            else:
                structure[content] = index
                wanted = True
        elif is_piece and read_piece(content) != normal_bytes(content, read_piece):
            # '<0x41>' in a text is six characters, and no byte
            wanted = True
        if wanted != token.special:
            flags[content] = wanted
    if texts:
        log.info(
            "tokenizer %s: %s are listed as special tokens, but are text, and are taken for it",
            name,
            _shown(texts),
        )
    return TokenClasses(
        dict(sorted(structure.items(), key=lambda item: item[1])), frozenset(literal_ids), flags
    )


def with_flags(backend: Tokenizer, flags: Mapping[str, bool]) -> Tokenizer:
    """The tokenizer, or a copy of it in which the named tokens are special, or are not."""
    if not flags:
        return backend
    state = json.loads(backend.to_str())
    for token in state["added_tokens"]:
        token["special"] = flags.get(token["content"], token["special"])
    return Tokenizer.from_str(json.dumps(state))


def _merged(contents: Mapping[int, str], model: models.Model) -> frozenset[int]:
    """The ids of those pieces that a BPE model gives for themselves, by its merges."""
    if not isinstance(model, models.BPE):
        return frozenset()
    found = set()
    for index, content in contents.items():
        first = next(iter(model.tokenize(content + BEYOND)), None)
        if first is not None and (first.id, first.value) == (index, content):
            found.add(index)
    return frozenset(found)


def _shown(texts: Collection[str]) -> str:
    first = ", ".join(repr(text) for text in list(texts)[:SHOWN])
    return first + (f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else "")
