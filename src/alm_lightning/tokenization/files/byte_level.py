"""Byte-level BPE tokenizers, put together from their parts."""

from collections.abc import Iterable, Mapping, Sequence

from tokenizers import AddedToken, Tokenizer, decoders, models

from alm_lightning.tokenization.files.merges import merges_of
from alm_lightning.tokenization.files.patterns import NORMALIZERS, Cut
from alm_lightning.tokenization.surface import byte_alphabet

_LETTERS = {byte: letter for letter, byte in byte_alphabet().items()}
_TRANSLATION = str.maketrans({chr(byte): letter for byte, letter in _LETTERS.items()})


def spell(token: bytes) -> str:
    """A token as a byte-level vocabulary writes it: one letter of GPT-2's alphabet for each byte.

    " é" is written 'ĠÃ©'.
    """
    return token.decode("latin-1").translate(_TRANSLATION)


def from_ranks(
    ranks: Mapping[bytes, int],
    *,
    ids: Mapping[bytes, int],
    special_ids: Mapping[str, int],
    cut: Cut,
) -> Tokenizer:
    """The tokenizer, without roles, of a table of ranks: what is merged first has the lowest."""
    merges, unreachable = merges_of(ranks)
    whole = bool(unreachable) if cut.ignore_merges is None else cut.ignore_merges
    return byte_level(
        vocabulary={spell(token): index for token, index in ids.items()},
        merges=[(spell(left), spell(right)) for left, right in merges],
        special_ids=special_ids,
        cut=Cut(cut.patterns, cut.normalizer, whole),
    )


def byte_level(
    *,
    vocabulary: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    special_ids: Mapping[str, int],
    cut: Cut,
    whole_tokens: Iterable[str] = (),
) -> Tokenizer:
    """A byte-level BPE tokenizer.

    Args:
        vocabulary: From a token, in the letters of the byte alphabet, to its id.
        merges: Pairs of tokens in the order in which they are merged.
        special_ids: From the text of a special token to its id.
        cut: How a text is cut before its bytes are merged.
        whole_tokens: Texts of tokens in `vocabulary` that are taken whole wherever they stand, and
            are no special tokens.

    Returns:
        The tokenizer, without roles.
    """
    clash = sorted(set(special_ids) & set(vocabulary))
    if clash:
        raise ValueError(
            f"special tokens {clash[:8]} have the names of ordinary tokens, as the byte alphabet "
            "spells these: each name must stand for one token. Rename or leave them out."
        )
    in_order = sorted(special_ids, key=special_ids.__getitem__)
    follow = [special_ids[token] for token in in_order] == [
        *range(len(vocabulary), len(vocabulary) + len(special_ids))
    ]
    tokenizer = Tokenizer(
        models.BPE(
            # added tokens get the ids that follow; to have another, one must be in the vocabulary
            vocab=dict(vocabulary) | ({} if follow else dict(special_ids)),
            merges=list(merges),
            ignore_merges=bool(cut.ignore_merges),
        )
    )
    if cut.normalizer is not None:
        tokenizer.normalizer = NORMALIZERS[cut.normalizer]()
    tokenizer.pre_tokenizer = cut.pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in in_order])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in whole_tokens])
    return tokenizer
