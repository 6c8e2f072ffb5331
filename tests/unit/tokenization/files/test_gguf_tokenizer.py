import unicodedata
from pathlib import Path

import gguf
import pytest

from alm_lightning import load_tokenizer
from alm_lightning.tokenization.files.gguf_metadata import read_metadata
from alm_lightning.tokenization.surface import byte_alphabet

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
LETTERS = list(byte_alphabet())
MERGES = ["Ġ 1", "1 2", "12 3", "h e", "l l", "he ll", "hell o", "Ġ hello", "Ã ©"]
TOKENS = [*LETTERS, *(merge.replace(" ", "") for merge in MERGES)]


def write(path, *, pre="gpt-2", model="gpt2", tokens=(), leave_out=(), **values):
    """A GGUF file with a byte-level tokenizer and no tensor at all."""
    writer = gguf.GGUFWriter(path, "llama")
    extra = [("<|end|>", CONTROL), ("<tool>", USER_DEFINED), ("[PAD]", UNUSED), *tokens]
    if model is not None:
        writer.add_tokenizer_model(model)
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    fields = {
        "tokens": lambda: writer.add_token_list([*TOKENS, *(token for token, _ in extra)]),
        "token_type": lambda: writer.add_token_types(
            [NORMAL] * len(TOKENS) + [kind for _, kind in extra]
        ),
        "merges": lambda: writer.add_token_merges(values.get("merges", MERGES)),
        "eos": lambda: writer.add_eos_token_id(len(TOKENS)),
        "template": lambda: writer.add_chat_template("{{ messages }}"),
    }
    for name, add in fields.items():
        if name not in leave_out:
            add()
    if "bos" in values:
        writer.add_bos_token_id(values["bos"])
        writer.add_add_bos_token(True)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def pieces(view, text):
    return [view.token_bytes[index].decode("utf-8", "replace") for index in view.encode(text).ids]


def test_each_cut_is_the_models_own(tmp_path):
    # the file's name says nothing
    gpt2 = load_tokenizer(write(tmp_path / "a", pre="gpt-2"))
    assert pieces(gpt2, "hello 123") == ["hello", " 1", "2", "3"]
    assert pieces(gpt2, "x123") == ["x", "123"]
    smollm = load_tokenizer(write(tmp_path / "b", pre="smollm"))
    assert pieces(smollm, "hello 123 hello") == ["hello", " ", "1", "2", "3", " hello"]
    llama = load_tokenizer(write(tmp_path / "c", pre="llama-bpe"))
    assert pieces(llama, "hello 123") == ["hello", " ", "123"]
    qwen = load_tokenizer(write(tmp_path / "d", pre="qwen2"))
    assert pieces(qwen, "x123") == ["x", "1", "2", "3"]
    decomposed = unicodedata.normalize("NFD", "é")
    assert pieces(qwen, decomposed) == ["é"]
    assert len(pieces(llama, decomposed)) > 1


def test_special_user_defined_and_unused_tokens(tmp_path):
    view = load_tokenizer(write(tmp_path / "x.gguf"))
    end = len(TOKENS)
    assert view.special_ids == {"<|end|>": end}
    assert view.roles == {"eos": end}
    assert not view.prepends_bos
    assert view.hf.chat_template == "{{ messages }}"
    # a row of the vocabulary that no token has is left out
    assert view.num_tokens == end + 2
    # one that its users defined is content, taken whole
    assert view.encode("a<tool>b").ids.tolist() == [
        LETTERS.index("a"),
        end + 1,
        LETTERS.index("b"),
    ]
    assert end not in view.encode("<|end|>").ids


def test_bos(tmp_path):
    view = load_tokenizer(write(tmp_path / "x.gguf", bos=len(TOKENS)))
    assert view.prepends_bos
    assert view.roles["bos"] == len(TOKENS)
    assert load_tokenizer(tmp_path / "x.gguf", prepend_bos=False).prepends_bos is False


def test_what_has_no_known_cut_is_refused(tmp_path):
    for pre in ("unheard-of", None):
        path = write(tmp_path / "x.gguf", pre=pre)
        with pytest.raises(ValueError, match=f"pre is {pre!r}.*not known here.*smollm"):
            load_tokenizer(path)


def test_damaged_files(tmp_path):
    path = tmp_path / "x.gguf"
    write(path, leave_out=["merges", "token_type"])
    with pytest.raises(ValueError, match="without token_type and merges"):
        load_tokenizer(path)
    write(path, merges=["a b c"])
    with pytest.raises(ValueError, match="has 3 parts, expected 2"):
        load_tokenizer(path)
    write(path, model=None, pre=None, leave_out=["tokens", "token_type", "merges", "eos"])
    with pytest.raises(ValueError, match=r"holds no tokenizer.*found tokenizer\.chat_template"):
        load_tokenizer(path)
    whole = write(path).read_bytes()
    path.write_bytes(whole[:2000])
    with pytest.raises(ValueError, match=r"can't be read as GGUF, at byte \d+.*cut off"):
        load_tokenizer(path)
    path.write_bytes(b"GGUF\x00\x00\x00\x07" + whole[8:])
    with pytest.raises(ValueError, match="its version is none of"):
        load_tokenizer(path)
    write(path, model="a-new-one")
    with pytest.raises(ValueError, match=r"transformers can't read the 'a-new-one' tokenizer"):
        load_tokenizer(path)


def test_metadata_is_what_the_gguf_package_reads(tmp_path):
    path = write(tmp_path / "x.gguf", bos=3)
    found = read_metadata(path, lambda key: True)
    fields = gguf.GGUFReader(path).fields
    expected = {key: field.contents() for key, field in fields.items() if "GGUF." not in key}
    assert found == expected
    with pytest.raises(ValueError, match="not a GGUF file"):
        read_metadata(Path(__file__), lambda key: True)
