"""Arbitrary Unicode under arbitrary small tokenizers: what holds for every pair of them."""

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from alm_lightning import align_text
from alm_lightning.alignment.boundaries import Whitespace
from alm_lightning.shapes import NO_CHUNK
from alm_lightning.tokenization.bytes.view import byte_view
from alm_lightning.tokenization.fast import view_of

SPECIALS = ["<bos>", "<eos>"]
NORMALIZERS = {
    "none": None,
    "nfc": normalizers.NFC(),
    "nfd": normalizers.NFD(),
    "nfkc": normalizers.NFKC(),
    "lowercase": normalizers.Lowercase(),
    "strip": normalizers.Strip(),
}
ALPHABET = st.one_of(
    st.sampled_from("ab \n\t\u2581eE\u0301\u0323\u1112\u1161\u11ab\ufb01\uff21é日👩\u200d🏽"),
    st.characters(exclude_categories=["Cs"]),
)
TEXTS = st.text(ALPHABET, max_size=40)


def added():
    return [AddedToken(content, special=True, normalized=False) for content in SPECIALS]


def byte_level(corpus, normalizer):
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=added(),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(corpus, trainer)
    backend.normalizer = normalizer
    return backend


def metaspace(corpus, normalizer, *, dummy, unigram):
    """SentencePiece style: BPE or Unigram with byte fallback, with or without a dummy space."""
    fallbacks = [f"<0x{byte:02X}>" for byte in range(256)]
    # every such vocabulary has the mark of a space
    corpus = [*corpus, "a b"]
    words = {piece for text in corpus for piece in text.replace(" ", "\u2581").split("\n")}
    pieces = sorted({w[:n] for w in words for n in range(1, 6)} | {"\u2581"} - {""}) or ["a"]
    pieces = [piece for piece in pieces if piece]
    if unigram:
        scored = [("<unk>", 0.0), *((p, -1.0 - len(p) % 3) for p in pieces)]
        scored += [(piece, 0.0) for piece in SPECIALS]
        scored += [(piece, -20.0) for piece in fallbacks]
        model = models.Unigram(scored, unk_id=0, byte_fallback=True)
        backend = Tokenizer(model)
        backend.add_special_tokens([AddedToken("<unk>", special=True, normalized=False), *added()])
    else:
        backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
        trainer = trainers.BpeTrainer(
            vocab_size=340,
            special_tokens=["<unk>", *added(), *fallbacks],
            show_progress=False,
        )
        marked = [text.replace(" ", "\u2581") for text in corpus]
        backend.train_from_iterator(marked, trainer)
        state = json.loads(backend.to_str())
        state["added_tokens"] = [
            token for token in state["added_tokens"] if not token["content"].startswith("<0x")
        ]
        backend = Tokenizer.from_str(json.dumps(state))
    steps = [normalizer] if normalizer else []
    if dummy:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        steps.append(normalizers.Replace(" ", "\u2581"))
    backend.normalizer = normalizers.Sequence(steps)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return backend


def wordpiece(corpus, normalizer):
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=120, special_tokens=["[UNK]", *added()], show_progress=False
    )
    backend.train_from_iterator([*corpus, "a b e"], trainer)
    backend.normalizer = normalizer
    return backend


LOSSLESS = {
    "byte_level": byte_level,
    "metaspace": lambda corpus, n: metaspace(corpus, n, dummy=False, unigram=False),
    "dummy": lambda corpus, n: metaspace(corpus, n, dummy=True, unigram=False),
    "unigram": lambda corpus, n: metaspace(corpus, n, dummy=False, unigram=True),
    "unigram_dummy": lambda corpus, n: metaspace(corpus, n, dummy=True, unigram=True),
}


def view(backend, *, bos=False):
    if bos:
        index = backend.token_to_id("<bos>")
        backend.post_processor = TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", index)]
        )
    hf = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>")
    return view_of(hf, name="arbitrary")


def sides(kinds):
    """What a tokenizer is made of: its kind and its normaliser."""
    return st.tuples(st.sampled_from(sorted(kinds)), st.sampled_from(sorted(NORMALIZERS)))


CORPORA = st.lists(TEXTS.filter(str.strip), min_size=1, max_size=4)


def made(side, corpus):
    kind, normalizer = side
    return view(({**LOSSLESS, "wordpiece": wordpiece})[kind](corpus, NORMALIZERS[normalizer]))


def spelled(view, ids):
    return b"".join(view.token_bytes[index] or b"" for index in ids.tolist())


def check(aligned, text):
    content = text.encode()
    assert aligned.content == content
    # chunks tile what they cover, in order, and none is empty
    bounds = [
        (int(s), int(e)) for s, e in zip(aligned.chunk_starts, aligned.chunk_ends, strict=True)
    ]
    assert all(start < end for start, end in bounds)
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(bounds))
    for ids, starts, ends in (
        (aligned.student_chunk_ids, aligned.student_starts, aligned.student_ends),
        (aligned.teacher_chunk_ids, aligned.teacher_starts, aligned.teacher_ends),
    ):
        assert (starts < ends).all()
        for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
            assert (ids[start:end] == index).all()
        assert (ids != NO_CHUNK).sum() == (ends - starts).sum()
    inside = sum(end - start for start, end in bounds)
    assert inside + sum(aligned.outside_bytes.values()) == len(content)


@settings(deadline=None, max_examples=80)
@given(pair=st.tuples(sides(LOSSLESS), sides(LOSSLESS)), corpus=CORPORA, text=TEXTS)
def test_lossless_pairs(pair, corpus, text):
    student, teacher = (made(side, corpus) for side in pair)
    aligned = align_text(text, student=student, teacher=teacher)
    check(aligned, text)
    if not aligned.rewritten_bytes:
        assert aligned.coverage == 1.0
        for index, (s0, s1, t0, t1) in enumerate(aligned.chunks):
            found = [
                spelled(student, aligned.student_ids[s0:s1]),
                spelled(teacher, aligned.teacher_ids[t0:t1]),
            ]
            # a dummy space stands for nothing, and only the first chunk can have one
            expected = aligned.chunk_bytes(index)
            allowed = {expected, b" " + expected} if index == 0 else {expected}
            assert set(found) <= allowed
    coarse = align_text(text, student=student, teacher=teacher, alignment=Whitespace())
    check(coarse, text)
    assert set(coarse.chunk_ends.tolist()) <= set(aligned.chunk_ends.tolist())
    # content is content, whatever it looks like
    for side, ids in ((student, aligned.student_ids), (teacher, aligned.teacher_ids)):
        assert not set(ids.tolist()) & set(side.special_ids.values())


@settings(deadline=None, max_examples=40)
@given(other=sides(LOSSLESS), corpus=CORPORA, text=TEXTS)
def test_a_lossy_tokenizer_counts_what_it_loses(other, corpus, text):
    student, teacher = made(("wordpiece", "nfc"), corpus), made(other, corpus)
    aligned = align_text(text, student=student, teacher=teacher)
    check(aligned, text)
    coarse = align_text(text, student=student, teacher=teacher, alignment=Whitespace())
    check(coarse, text)


@settings(deadline=None, max_examples=25)
@given(corpus=CORPORA, text=TEXTS)
@pytest.mark.parametrize("kind", sorted(LOSSLESS))
def test_a_bos_on_one_side_changes_no_chunk(kind, corpus, text):
    plain = view(LOSSLESS[kind](corpus, None))
    with_bos = view(LOSSLESS[kind](corpus, None), bos=True)
    assert with_bos.prepends_bos
    teacher = byte_view()
    aligned = align_text(text, student=with_bos, teacher=teacher)
    assert aligned.chunks == align_text(text, student=plain, teacher=teacher).chunks


@settings(deadline=None, max_examples=30)
@given(text=st.lists(st.sampled_from([*SPECIALS, "<unk>", "<0x41>", " ", "a"])).map("".join))
@pytest.mark.parametrize("kind", sorted(LOSSLESS))
def test_names_of_special_tokens_are_content(kind, text):
    side = view(LOSSLESS[kind](["a b <bos> <eos>", "<unk> <0x41>"], None))
    encoding = side.encode(text)
    assert not set(encoding.ids.tolist()) & set(side.special_ids.values())
    # the tokenizers library's Unigram takes a literal '<0x41>' for the byte that it names, which
    # sentencepiece would not: counted as rewritten
    if "<0x41>" in text and kind.startswith("unigram"):
        assert encoding.rewritten_bytes
    else:
        assert spelled(side, encoding.ids).removeprefix(b" ") == text.encode().removeprefix(b" ")
