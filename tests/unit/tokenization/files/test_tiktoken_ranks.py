import base64
import itertools
import json
import unicodedata

import pytest
import regex
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from alm_lightning import load_tokenizer
from alm_lightning.tokenization.files.patterns import PATTERNS
from alm_lightning.tokenization.surface import byte_level_piece

SENTENCES = [
    "The quick brown fox jumps over the lazy dog. It's 12345!",
    "def add(first, second):\n    return first + second\n\n\n",
    "Größe, café, naïve, Łódź; 日本語のテキスト and emoji 👩‍👩‍👧‍👦. नमस्ते",
    "HTTPServer getURL I'M  it'S /path/to//file\r\n\t\ttabs",
]
TEXTS = [
    *SENTENCES,
    "",
    "  \n \n\n x ",
    "cafe\u0301 \u1112\u1161\u11ab",
    "<|end|>one<|start|>",
    "\u00a0\u3000\x85\u2028 ١٢٣ ⅷ 12,345",
]


@pytest.fixture(scope="module")
def ranks() -> dict[bytes, int]:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=380, initial_alphabet=alphabet, show_progress=False, special_tokens=[]
    )
    backend.train_from_iterator(SENTENCES * 3, trainer)
    ranks = {byte_level_piece(piece): index for piece, index in backend.get_vocab().items()}
    # one that no merging makes: it is taken where a pretoken is just that
    return {**ranks, b" unreachable": len(ranks)}


def write_tiktoken(path, ranks):
    lines = [b"%b %d" % (base64.b64encode(token), rank) for token, rank in ranks.items()]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def reference_ids(text, ranks, pattern):
    """As tiktoken does it: pretokens by the regex package, then pairs of the lowest rank."""
    ids = []
    for match in regex.finditer(pattern, text):
        parts = [bytes([byte]) for byte in match[0].encode()]
        while match[0].encode() not in ranks:
            pairs = [ranks.get(a + b) for a, b in itertools.pairwise(parts)]
            known = [pair for pair in pairs if pair is not None]
            if not known:
                break
            place = pairs.index(min(known))
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
        whole = match[0].encode()
        ids += [ranks[whole]] if whole in ranks else [ranks[part] for part in parts]
    return ids


@pytest.mark.parametrize("pattern", PATTERNS)
def test_ids_are_those_of_the_ranks(tmp_path, ranks, pattern):
    # the file is told by its content: Llama 3's is called like a SentencePiece model
    path = write_tiktoken(tmp_path / "tokenizer.model", ranks)
    view = load_tokenizer(path, pattern=pattern)
    for text in [*TEXTS, "an unreachable one"]:
        expected = reference_ids(text, ranks, PATTERNS[pattern])
        assert view.encode(text).ids.tolist() == expected, text
        assert b"".join(view.token_bytes[i] for i in expected) == text.encode()


def test_what_the_file_does_not_hold(tmp_path, ranks):
    path = write_tiktoken(tmp_path / "x.tiktoken", ranks)
    view = load_tokenizer(
        path,
        pattern=r"\p{L}+|\P{L}",
        normalizer="NFC",
        special_tokens=["<|start|>", "<|end|>"],
        bos="<|start|>",
        eos="<|end|>",
        prepend_bos=True,
        chat_template="{{ messages }}",
    )
    first = len(ranks)
    assert view.special_ids == {"<|start|>": first, "<|end|>": first + 1}
    assert view.roles == {"bos": first, "eos": first + 1}
    assert view.prepends_bos
    assert view.hf.chat_template == "{{ messages }}"
    text = "cafe\u0301 <|end|>"
    normal = unicodedata.normalize("NFC", text)
    assert view.encode(text).ids.tolist() == reference_ids(normal, ranks, r"\p{L}+|\P{L}")
    assert view.hf("a").input_ids[0] == first
    # saved and loaded again it is the same
    view.hf.save_pretrained(tmp_path / "saved")
    again = load_tokenizer(tmp_path / "saved")
    assert again.fingerprint == view.fingerprint
    assert again.roles == view.roles
    assert again.prepends_bos


def test_special_tokens_have_the_ids_they_are_given(tmp_path, ranks):
    path = write_tiktoken(tmp_path / "x.tiktoken", ranks)
    view = load_tokenizer(path, pattern="gpt2", special_tokens={"<|a|>": 500, "<|b|>": 450})
    assert view.special_ids == {"<|b|>": 450, "<|a|>": 500}
    assert view.num_tokens == 501
    assert view.token_bytes[460] is None
    assert not {450, 500} & set(view.encode("<|a|><|b|>").ids.tolist())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "does not hold the pattern.*gpt2, cl100k"),
        ({"pattern": "qwen7"}, "'qwen7' is not a name that is known here"),
        ({"pattern": "(a"}, "is not a regular expression"),
        ({"pattern": "gpt2", "normalizer": "NFD"}, "'NFD', but must be NFC, NFKC or None"),
        ({"pattern": "gpt2", "special_tokens": {"<|a|>": 3}}, "ids of their own.*'<|a|>': 3"),
        ({"pattern": "gpt2", "special_tokens": {"<a>": 900, "<b>": 900}}, "ids of their own"),
        ({"pattern": "gpt2", "special_tokens": "<|a|>"}, "give a list of names"),
        ({"pattern": "gpt2", "special_tokens": ["a"]}, r"\['a'\] have the names of ordinary"),
        ({"pattern": "gpt2", "eos": "<|end|>"}, "'<|end|>' is none of its special tokens"),
        ({"pattern": "gpt2", "prepend_bos": True}, "has no BOS to prepend"),
    ],
)
def test_options_that_are_missing_or_wrong(tmp_path, ranks, options, message):
    path = write_tiktoken(tmp_path / "x.tiktoken", ranks)
    with pytest.raises(ValueError, match=message.replace("|", r"\|")):
        load_tokenizer(path, **options)


def test_damaged_files(tmp_path, ranks):
    path = write_tiktoken(tmp_path / "x.tiktoken", ranks)
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[:300], b"IHRo"]))
    with pytest.raises(ValueError, match=r"line 301: expected a token in base64.*b'IHRo'"):
        load_tokenizer(path, pattern="gpt2")
    path.write_bytes(b"\n".join(lines[:100]))
    missing = 256 - sum(len(token) == 1 for token in list(ranks)[:100])
    with pytest.raises(ValueError, match=f"has no token for {missing} of the 256 bytes"):
        load_tokenizer(path, pattern="gpt2")
    path.write_bytes(b"\n".join([*lines, b"AAAA 0"]))
    with pytest.raises(ValueError, match="one rank to several tokens"):
        load_tokenizer(path, pattern="gpt2")


def tekken(ranks, **changes):
    config = {
        "pattern": PATTERNS["tekken"],
        "num_vocab_tokens": len(ranks),
        "default_vocab_size": len(ranks) + 20,
        "default_num_special_tokens": 30,
    }
    vocabulary = [
        {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
        for token, rank in ranks.items()
    ]
    return {"config": config, "vocab": vocabulary, **changes}


def test_tekken(tmp_path, ranks):
    path = tmp_path / "any.name"
    path.write_text(json.dumps(tekken(ranks)), encoding="utf-8")
    view = load_tokenizer(path)
    # the ten last ranks have no room beside 30 special tokens
    kept = {token: rank for token, rank in ranks.items() if rank < len(ranks) - 10}
    for text in TEXTS:
        expected = [rank + 30 for rank in reference_ids(text, kept, PATTERNS["tekken"])]
        assert view.encode(text).ids.tolist() == expected
    assert view.special_ids["[INST]"] == 3
    assert view.special_ids["<SPECIAL_29>"] == 29
    assert view.roles == {"bos": 1, "eos": 2, "pad": 11}
    assert view.prepends_bos
    assert view.num_tokens == len(ranks) + 20


def test_tekken_with_special_tokens_of_its_own(tmp_path, ranks):
    path = tmp_path / "tekken.json"
    names = ["<unk>", "<s>", "</s>", "<pad>"]
    special = [{"rank": rank, "token_str": name} for rank, name in enumerate(names)]
    path.write_text(json.dumps(tekken(ranks, special_tokens=special)), encoding="utf-8")
    assert load_tokenizer(path).roles == {"bos": 1, "eos": 2, "pad": 3}
    with pytest.raises(ValueError, match=r"holds its pattern and special tokens itself.*pattern"):
        load_tokenizer(path, pattern="gpt2")
    damaged = tekken(ranks)
    del damaged["config"]["pattern"]
    path.write_text(json.dumps(damaged), encoding="utf-8")
    with pytest.raises(ValueError, match="KeyError 'pattern'"):
        load_tokenizer(path)
