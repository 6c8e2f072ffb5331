"""Rank files: byte-level BPE as a list of tokens in the order of their merges.

Two kinds are read: tiktoken's, with a line ``base64 rank`` a token, and Mistral's tekken.json.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from alm_lightning.tokenization.files.byte_level import from_ranks
from alm_lightning.tokenization.files.patterns import PATTERNS, Cut, cut_of

RANK_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} [0-9]+")
TEKKEN_SPECIALS = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]"),
    *("[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
    "[TOOL_CONTENT]",
)
"""Special tokens of the tekken files that do not list theirs, by id."""


@dataclass(frozen=True)
class RankOptions:
    """What a rank file does not hold.

    Attributes:
        pattern: How texts are cut: a name in `patterns.PATTERNS` or a regular expression.
        special_tokens: Names in the order of their ids, which follow the ranks, or names with ids.
        normalizer: ``NFC``, ``NFKC`` or None.
    """

    pattern: str | None = None
    special_tokens: Sequence[str] | Mapping[str, int] = ()
    normalizer: str | None = None

    @property
    def names_set(self) -> list[str]:
        """Names of the options that are set."""
        return [name for name, value in vars(self).items() if value]


def read_tiktoken(path: Path, options: RankOptions) -> Tokenizer:
    """The tokenizer, without roles, of a tiktoken rank file.

    A ValueError if a line is damaged, a rank or a byte is missing, there is no pattern, or a
    special token has the id of another token.
    """
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error) as error:
            raise ValueError(
                f"{path}, line {number}: expected a token in base64, a space and its rank, found "
                f"{line[:60]!r}. The file is damaged, or not of tiktoken: fetch it again."
            ) from error
    _check_ranks(ranks, path)
    if options.pattern is None:
        raise ValueError(
            f"{path} is a tiktoken rank file, which does not hold the pattern that cuts texts. "
            f"Give pattern: one of {', '.join(PATTERNS)}, or the tokenizer's own regular "
            "expression."
        )
    special_ids = _special_ids(options.special_tokens, first=max(ranks.values()) + 1)
    _check_free(special_ids, set(ranks.values()), path)
    cut = cut_of(options.pattern, options.normalizer)
    return from_ranks(ranks, ids=ranks, special_ids=special_ids, cut=cut)


def read_tekken(path: Path, content: Mapping[str, Any], options: RankOptions) -> Tokenizer:
    """The tokenizer of a tekken.json, which holds its pattern.

    Special tokens have the first ids; the ranks follow, as many as fit into the vocabulary.

    Of the options it takes a normaliser: the file holds the rest. A ValueError if the file is
    damaged, or options are given that it holds itself.
    """
    if options.pattern or options.special_tokens:
        raise ValueError(
            f"{path} is a tekken.json, which holds its pattern and special tokens itself. Leave "
            f"out {' and '.join(name for name in options.names_set if name != 'normalizer')}."
        )
    try:
        config = content["config"]
        num_specials = config["default_num_special_tokens"]
        num_ranks = config["default_vocab_size"] - num_specials
        ranks = {base64.b64decode(e["token_bytes"]): e["rank"] for e in content["vocab"]}
        ranks = {token: rank for token, rank in ranks.items() if rank < num_ranks}
        listed = content.get("special_tokens") or [
            {"rank": rank, "token_str": name} for rank, name in enumerate(TEKKEN_SPECIALS)
        ]
        special_ids = {entry["token_str"]: entry["rank"] for entry in listed}
        cut = Cut((config["pattern"],), cut_of(config["pattern"], options.normalizer).normalizer)
    except (KeyError, TypeError, binascii.Error) as error:
        raise ValueError(
            f"{path} looks like a tekken.json, but {type(error).__name__} {error} came up in "
            "reading it: expected config (pattern, default_vocab_size, default_num_special_tokens) "
            "and vocab (rank, token_bytes). Fetch it again."
        ) from error
    _check_ranks(ranks, path)
    taken = set(special_ids.values())
    special_ids |= {f"<SPECIAL_{i}>": i for i in range(num_specials) if i not in taken}
    ids = {token: rank + num_specials for token, rank in ranks.items()}
    _check_free(special_ids, set(ids.values()), path)
    return from_ranks(ranks, ids=ids, special_ids=special_ids, cut=cut)


def _check_ranks(ranks: Mapping[bytes, int], path: Path) -> None:
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if missing:
        raise ValueError(
            f"{path} has no token for {len(missing)} of the 256 bytes, such as 0x{missing[0]:02X}: "
            "expected a byte-level vocabulary. The file was cut off or is of another kind: fetch "
            "it again."
        )
    if len(set(ranks.values())) < len(ranks):
        raise ValueError(
            f"{path} gives one rank to several tokens: expected {len(ranks)} different ranks, "
            f"found {len(set(ranks.values()))}. The file is damaged: fetch it again."
        )


def _special_ids(given: Sequence[str] | Mapping[str, int], first: int) -> dict[str, int]:
    if isinstance(given, Mapping):
        return dict(given)
    if isinstance(given, str):
        raise ValueError(
            f"special_tokens is the text {given!r}: give a list of names, or name: id."
        )
    return {name: first + place for place, name in enumerate(given)}


def _check_free(special_ids: Mapping[str, int], taken: set[int], path: Path) -> None:
    clash = {name: index for name, index in special_ids.items() if index in taken}
    if clash or len(set(special_ids.values())) < len(special_ids):
        raise ValueError(
            f"{path}: special tokens must have ids of their own, after the highest rank "
            f"{max(taken)}; these do not: {clash or dict(special_ids)}. Correct special_tokens."
        )
