"""SentencePiece models: BPE and Unigram, as fast tokenizers that give the same ids."""

import re
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
)
from transformers.convert_slow_tokenizer import import_protobuf

from alm_lightning.tokenization.files.merges import merges_of
from alm_lightning.tokenization.overrides import TokenizerOverrides
from alm_lightning.tokenization.surface import METASPACE

UNIGRAM, BPE = 1, 2
"""Kinds of models, of `TrainerSpec.ModelType`."""
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE, UNUSED = 1, 2, 3, 4, 6, 5
"""Kinds of pieces, of `ModelProto.SentencePiece.Type`."""
OUT_OF_REACH = -1e6
"""Score of a Unigram piece that no text may be cut into, far below that of any path around it."""


def read_sentencepiece(path: Path) -> tuple[Tokenizer, TokenizerOverrides]:
    """The tokenizer of a SentencePiece model, with its normaliser and its dummy leading space.

    The dummy space goes before the first text of a sequence, not before one that follows a special
    token.

    Returned are the tokenizer and the roles that the file gives. Whether a BOS is prepended the
    file does not say: it is where it has one. A ValueError if the file is damaged, or of a kind
    that has no fast version.
    """
    model = import_protobuf().ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ValueError(
            f"{path} can't be read as a SentencePiece model: {error}. Expected the file that "
            "SentencePiece's training writes, often called tokenizer.model. Fetch it again."
        ) from error
    _check(model, path)
    names = [piece.piece for piece in model.pieces]
    wholes = [piece.piece for piece in model.pieces if piece.type == USER_DEFINED]
    tokenizer = Tokenizer(
        _unigram(model) if model.trainer_spec.model_type == UNIGRAM else _bpe(model)
    )
    tokenizer.normalizer = _normalizer(model.normalizer_spec)
    tokenizer.pre_tokenizer = _pre_tokenizer(model.normalizer_spec, wholes)
    tokenizer.decoder = _decoder(model.normalizer_spec)
    # the unknown token as well: it stands for no text
    special = [piece.piece for piece in model.pieces if piece.type in (CONTROL, UNKNOWN)]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    spec = model.trainer_spec
    roles = {"bos": spec.bos_id, "eos": spec.eos_id, "pad": spec.pad_id}
    found = {
        role: names[index]
        for role, index in roles.items()
        if 0 <= index < len(names) and names[index] in special
    }
    return tokenizer, TokenizerOverrides(**found, prepend_bos="bos" in found)


def _check(model: Any, path: Path) -> None:
    spec, rules = model.trainer_spec, model.normalizer_spec
    if not model.pieces:
        raise ValueError(
            f"{path} holds no pieces: it is not a SentencePiece model, or damaged. Fetch it again."
        )
    if spec.model_type not in (UNIGRAM, BPE):
        raise ValueError(
            f"{path} is a SentencePiece model of type {spec.model_type} (word or char); expected "
            "unigram or bpe, which have a fast version."
        )
    if spec.treat_whitespace_as_suffix or not rules.escape_whitespaces:
        raise ValueError(
            f"{path} was trained with treat_whitespace_as_suffix or without escape_whitespaces, "
            "which has no fast version. Convert it to a tokenizer.json first."
        )
    if sum(piece.type == UNKNOWN for piece in model.pieces) != 1:
        raise ValueError(f"{path} has no unknown piece, or several: it is damaged. Fetch it again.")


def _bpe(model: Any) -> models.BPE:
    """Pieces are merged by score; user-defined ones are taken whole, and others made of nothing."""
    ranks = {p.piece: -p.score for p in model.pieces if p.type == NORMAL}
    merges, _ = merges_of(ranks)
    return models.BPE(
        vocab={piece.piece: index for index, piece in enumerate(model.pieces)},
        merges=merges,
        unk_token=next(piece.piece for piece in model.pieces if piece.type == UNKNOWN),
        fuse_unk=True,
        byte_fallback=model.trainer_spec.byte_fallback,
        # a user-defined piece is a pretoken of its own, with no merges that would lead to it
        ignore_merges=any(piece.type == USER_DEFINED for piece in model.pieces),
    )


def _unigram(model: Any) -> models.Unigram:
    # '<0x41>' in a text is six characters, and no text has control or unused pieces. (But where one
    # of these characters has no piece, the library would rather take the byte's.)
    hidden = (BYTE, CONTROL, UNUSED)
    scores = [(p.piece, OUT_OF_REACH if p.type in hidden else p.score) for p in model.pieces]
    unknown = next(index for index, piece in enumerate(model.pieces) if piece.type == UNKNOWN)
    return models.Unigram(scores, unk_id=unknown, byte_fallback=model.trainer_spec.byte_fallback)


def _normalizer(rules: Any) -> normalizers.Normalizer:
    """The model's own table of characters, then its rules for spaces."""
    steps: list[normalizers.Normalizer] = []
    # The library looks characters up one by one where SentencePiece takes several, so decomposed
    # Hangul stays as it is. NFC in front would mend that, and reorder the marks of Arabic.
    if rules.precompiled_charsmap:
        steps.append(normalizers.Precompiled(rules.precompiled_charsmap))
    if rules.remove_extra_whitespaces:
        # spaces only: tabs and line ends are left to the table
        steps.append(normalizers.Replace(Regex(" +\\z"), ""))
        steps.append(normalizers.Replace(Regex(" {2,}"), " "))
        if rules.add_dummy_prefix:
            # a space in front is left, for it to be the dummy one
            return normalizers.Sequence(steps)
        steps.append(normalizers.Replace(Regex("\\A +"), ""))
    return normalizers.Sequence([*steps, normalizers.Replace(" ", METASPACE)])


def _pre_tokenizer(rules: Any, wholes: list[str]) -> pre_tokenizers.PreTokenizer:
    steps: list[pre_tokenizers.PreTokenizer] = []
    if rules.add_dummy_prefix:
        # Two steps: one alone adds no dummy to a text that starts with a space (or U+2581), as
        # SentencePiece does. The first finds one where the normaliser has left it, and only there.
        steps.append(pre_tokenizers.Metaspace(" ", prepend_scheme="first", split=False))
        steps.append(pre_tokenizers.Metaspace(METASPACE, prepend_scheme="never", split=False))
    if wholes:
        longest_first = sorted(wholes, key=len, reverse=True)
        pattern = "|".join(re.escape(piece) for piece in longest_first)
        steps.append(pre_tokenizers.Split(Regex(pattern), behavior="isolated"))
    return pre_tokenizers.Sequence(steps)


def _decoder(rules: Any) -> decoders.Decoder:
    steps = [decoders.Replace(METASPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if rules.add_dummy_prefix:
        steps.append(decoders.Strip(content=" ", left=1, right=0))
    return decoders.Sequence(steps)
