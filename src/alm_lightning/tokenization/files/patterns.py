"""How byte-level tokenizers cut a text into pretokens, by name.

A rank file does not hold its pattern, and a GGUF file only the name of one. The regular expressions
are facts about published tokenizers: one that differs by a character gives other tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tokenizers import Regex, normalizers, pre_tokenizers

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_ENDS = r"\s*[\r\n]+|\s+(?!\S)|\s+"

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = (
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_ENDS}"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_QWEN3_5 = (
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_ENDS}"
)
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
    rf"|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_ENDS}"
)
_DEEPSEEK_V3 = (
    r"\p{N}{1,3}",
    r"[一-龥\u3040-ゟ゠-ヿ]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_ENDS}",
)
_O200K = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}?"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTIONS}?"
    rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_ENDS}"
)

PATTERNS: Mapping[str, str] = MappingProxyType(
    {
        "gpt2": _GPT2,
        # a line's end after whitespace stands alone, where Llama 3 takes several at once
        "cl100k": _LLAMA3.replace(r"\s*[\r\n]+", r"\s*[\r\n]"),
        "llama3": _LLAMA3,
        "qwen2": _QWEN2,
        "qwen3_5": _QWEN3_5,
        "tekken": _TEKKEN,
        "o200k": _O200K,
    }
)
"""Regular expressions of pretokens that have a name here."""

NORMALIZERS = MappingProxyType({"NFC": normalizers.NFC, "NFKC": normalizers.NFKC})


@dataclass(frozen=True)
class Cut:
    """How a byte-level tokenizer prepares a text for its merges.

    Attributes:
        patterns: Regular expressions of pretokens, applied one after another.
        normalizer: ``NFC``, ``NFKC`` or None.
        ignore_merges: Whether a pretoken that is a token is taken whole, without merging. None:
            exactly where a token can't be reached by merging.
    """

    patterns: tuple[str, ...]
    normalizer: str | None = None
    ignore_merges: bool | None = None

    def pre_tokenizer(self) -> pre_tokenizers.PreTokenizer:
        """The pre-tokenizer: one split a pattern, then bytes as GPT-2's letters."""
        splits = [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in self.patterns
        ]
        spell = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        return pre_tokenizers.Sequence([*splits, spell])


GGUF_CUTS: Mapping[str, Cut] = MappingProxyType(
    {
        "gpt-2": Cut((_GPT2,)),
        # digits stand alone, then the pattern of GPT-2
        "smollm": Cut((r"\p{N}", _GPT2)),
        "llama-bpe": Cut((_LLAMA3,), ignore_merges=True),
        "qwen2": Cut((_QWEN2,), normalizer="NFC"),
        "qwen35": Cut((_QWEN3_5,), normalizer="NFC"),
        "tekken": Cut((_TEKKEN,), ignore_merges=True),
        "gpt-4o": Cut((_O200K,)),
        "deepseek-v3": Cut(_DEEPSEEK_V3),
    }
)
"""By the name that a GGUF file gives in ``tokenizer.ggml.pre``."""


def cut_of(pattern: str, normalizer: str | None) -> Cut:
    """The cut of a rank file: a name in `PATTERNS` or a regular expression, and a normaliser."""
    if normalizer is not None and normalizer not in NORMALIZERS:
        raise ValueError(f"normalizer is {normalizer!r}, but must be NFC, NFKC or None.")
    known = PATTERNS.get(pattern, pattern)
    # what has no operator of a regular expression was meant as a name
    is_name = pattern not in PATTERNS and pattern.replace("_", "").replace("-", "").isalnum()
    try:
        Regex(known)
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"pattern {pattern!r} is not a regular expression: {error}.") from error
    if is_name:
        raise ValueError(
            f"pattern {pattern!r} is not a name that is known here, nor an expression that cuts a "
            f"text. Names: {', '.join(PATTERNS)}. Give the tokenizer's own regular "
            "expression instead."
        )
    return Cut((known,), normalizer)
