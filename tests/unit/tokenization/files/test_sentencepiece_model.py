import math

import pytest
from transformers.convert_slow_tokenizer import import_protobuf

from alm_lightning import load_tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
WORDS = [
    "▁hello",
    "▁world",
    "he",
    "llo",
    "▁he",
    "hello",
    "ll",
    "lo",
    "▁w",
    "or",
    "ld",
    "orld",
    "▁▁",
]
TEXTS = ["hello world", " hello", "  hello  world ", "", " ", "wörld <s> <unk> <0x41>", "▁hello"]


def model(kind, pieces=(), *, byte_fallback=True, **rules):
    """A model of control pieces, all bytes, letters and words, and of what is given."""
    proto = import_protobuf().ModelProto()

    def add(piece, score, of_type):
        proto.pieces.add(piece=piece, score=score, type=of_type)

    add("<unk>", 0.0, UNKNOWN)
    add("<s>", 0.0, CONTROL)
    add("</s>", 0.0, CONTROL)
    if byte_fallback:
        for byte in range(256):
            add(f"<0x{byte:02X}>", 0.0, BYTE)
    for piece, score, of_type in pieces:
        add(piece, score, of_type)
    for rank, piece in enumerate(WORDS):
        add(piece, -float(rank), NORMAL)
    for rank, letter in enumerate("▁helowrdx<0>4us/nk1"):
        add(letter, -20.0 - rank, NORMAL)
    proto.trainer_spec.model_type = kind
    proto.trainer_spec.byte_fallback = byte_fallback
    proto.trainer_spec.pad_id = -1
    settings = {"add_dummy_prefix": True, "remove_extra_whitespaces": False} | rules
    for name, value in settings.items():
        setattr(proto.normalizer_spec, name, value)
    return proto


@pytest.fixture
def load(tmp_path):
    def load(proto, **options):
        # told by its content
        path = tmp_path / "some.file"
        path.write_bytes(proto.SerializeToString())
        return load_tokenizer(path, **options)

    return load


def normal(text, proto):
    """SentencePiece's rules for spaces."""
    rules = proto.normalizer_spec
    if rules.remove_extra_whitespaces:
        text = " ".join(part for part in text.split(" ") if part)
    if rules.add_dummy_prefix and text:
        text = " " + text
    return text.replace(" ", "▁")


def ids_of(parts, proto):
    ids = {piece.piece: index for index, piece in enumerate(proto.pieces)}
    kinds = {piece.piece: piece.type for piece in proto.pieces}
    found = []
    for part in parts:
        if kinds.get(part) in (NORMAL, USER_DEFINED):
            found.append(ids[part])
        elif proto.trainer_spec.byte_fallback:
            found += [ids[f"<0x{byte:02X}>"] for byte in part.encode()]
        elif not found or found[-1] != 0:
            found.append(0)
    return found


def reference_bpe(text, proto):
    scores = {piece.piece: piece.score for piece in proto.pieces if piece.type == NORMAL}
    wholes = [piece.piece for piece in proto.pieces if piece.type == USER_DEFINED]
    text, parts = normal(text, proto), []
    while text:
        whole = max((w for w in wholes if text.startswith(w)), key=len, default=text[0])
        parts, text = [*parts, whole], text[len(whole) :]
    while True:
        options = [
            (-scores[parts[i] + parts[i + 1]], i)
            for i in range(len(parts) - 1)
            if parts[i] + parts[i + 1] in scores and not {parts[i], parts[i + 1]} & {*wholes}
        ]
        if not options:
            return ids_of(parts, proto)
        _, place = min(options)
        parts[place : place + 2] = [parts[place] + parts[place + 1]]


def reference_unigram(text, proto):
    """Viterbi over all cuts; a character without a piece costs the lowest score and 10 more."""
    scores = {p.piece: p.score for p in proto.pieces if p.type in (NORMAL, USER_DEFINED)}
    text, unknown = normal(text, proto), min(scores.values()) - 10
    best = [(0.0, [])] + [(-math.inf, [])] * len(text)
    for end in range(1, len(text) + 1):
        for start in range(end):
            score = scores.get(text[start:end], unknown if end - start == 1 else -math.inf)
            if best[start][0] + score > best[end][0]:
                best[end] = (best[start][0] + score, [*best[start][1], text[start:end]])
    return ids_of(best[-1][1], proto)


@pytest.mark.parametrize("byte_fallback", [True, False])
@pytest.mark.parametrize("add_dummy_prefix", [True, False])
@pytest.mark.parametrize(("kind", "reference"), [(2, reference_bpe), (1, reference_unigram)])
def test_ids_are_those_of_sentencepiece(load, kind, reference, add_dummy_prefix, byte_fallback):
    proto = model(kind, byte_fallback=byte_fallback, add_dummy_prefix=add_dummy_prefix)
    view = load(proto)
    for text in TEXTS:
        assert view.encode(text).ids.tolist() == reference(text, proto), text


@pytest.mark.parametrize("add_dummy_prefix", [True, False])
@pytest.mark.parametrize(("kind", "reference"), [(2, reference_bpe), (1, reference_unigram)])
def test_extra_spaces_are_dropped_where_the_model_says_so(load, kind, reference, add_dummy_prefix):
    proto = model(kind, remove_extra_whitespaces=True, add_dummy_prefix=add_dummy_prefix)
    view = load(proto)
    for text in ["  hello   world  ", "hello world", " hello", " ", "", "▁hello"]:
        assert view.encode(text).ids.tolist() == reference(text, proto), text
    assert any("runs of spaces" in loss for loss in view.losses)


def test_pieces_that_users_defined_are_never_merged(load):
    proto = model(
        2,
        [
            ("rl", 0.0, USER_DEFINED),
            ("▁▁▁", 0.0, USER_DEFINED),
            ("  ", 0.0, USER_DEFINED),
            ("zz", 0.0, UNUSED),
        ],
    )
    view = load(proto)
    for text in ["hello world", "a   world", "a  world", "orld", "rl", "zz"]:
        assert view.encode(text).ids.tolist() == reference_bpe(text, proto), text


def test_the_dummy_space_is_at_the_start_of_a_sequence_only(load):
    proto = model(2)
    view = load(proto)
    names = [piece.piece for piece in proto.pieces]
    assert [names[i] for i in view.encode("hello").ids] == ["▁hello"]
    assert [names[i] for i in view.encode("hello", continued=True).ids] == ["hello"]
    assert [names[i] for i in view.encode(" hello", continued=True).ids] == ["▁hello"]
    assert view.encode(" hello").ends.tolist() == [0, 6]


def test_roles(load):
    view = load(model(2))
    assert view.roles == {"bos": 1, "eos": 2}
    assert view.prepends_bos
    assert view.special_ids == {"<unk>": 0, "<s>": 1, "</s>": 2}
    assert view.fallback_ids == frozenset(range(3, 259))
    assert not load(model(2), prepend_bos=False).prepends_bos
    assert load(model(2), pad="</s>").roles["pad"] == 2
    without = model(2)
    without.trainer_spec.bos_id = -1
    assert load(without).roles == {"eos": 2}
    assert not load(without).prepends_bos


def test_models_without_a_fast_version(load):
    for change, message in [
        ({"model_type": 3}, "of type 3.*expected unigram or bpe"),
        ({"treat_whitespace_as_suffix": True}, "treat_whitespace_as_suffix"),
    ]:
        proto = model(2)
        for name, value in change.items():
            setattr(proto.trainer_spec, name, value)
        with pytest.raises(ValueError, match=message):
            load(proto)
    with pytest.raises(ValueError, match="escape_whitespaces"):
        load(model(2, escape_whitespaces=False))
    several = model(2, [("<other>", 0.0, UNKNOWN)])
    with pytest.raises(ValueError, match="no unknown piece, or several"):
        load(several)


def test_damaged(tmp_path):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(model(2).SerializeToString()[:-3])
    with pytest.raises(ValueError, match="can't be read as a SentencePiece model"):
        load_tokenizer(path)
    with pytest.raises(ValueError, match="pattern can't be set for"):
        load_tokenizer(path, pattern="gpt2")
