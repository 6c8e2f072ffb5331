import json

import pytest
from transformers import PreTrainedTokenizerFast

from alm_lightning import load_tokenizer

TEXTS = ["Hello 1234, it's", "  spaces\n\n", "日本語 café cafe\u0301"]


@pytest.fixture
def folder(tmp_path, byte_level_tokenizer):
    byte_level_tokenizer.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def ids_of(view):
    return [view.encode(text).ids.tolist() for text in TEXTS]


def test_a_folder_and_its_file(folder, byte_level_view):
    view = load_tokenizer(folder)
    assert ids_of(view) == ids_of(byte_level_view)
    assert view.roles == byte_level_view.roles
    assert view.prepends_bos
    # the file alone knows no roles, but its template puts a BOS in front
    alone = load_tokenizer(folder / "tokenizer.json")
    assert ids_of(alone) == ids_of(byte_level_view)
    assert alone.roles == {}
    dressed = load_tokenizer(
        (folder / "tokenizer.json").rename(folder / "any.name"), bos="<bos>", eos="<eos>"
    )
    assert dressed.roles == {role: view.roles[role] for role in ("bos", "eos")}
    assert dressed.prepends_bos


def test_roles_and_templates_over_those_of_a_folder(folder):
    view = load_tokenizer(folder, eos="<end_of_turn>", prepend_bos=False, chat_template="{{ x }}")
    assert view.roles["eos"] == view.special_ids["<end_of_turn>"]
    assert not view.prepends_bos
    assert view.hf.chat_template == "{{ x }}"


@pytest.mark.parametrize("declared", ["Qwen2Tokenizer", "GPT2Tokenizer", "LlamaTokenizerFast"])
def test_a_tokenizer_json_is_taken_as_it_is(folder, byte_level_view, declared):
    # transformers puts a cut and a normaliser of its own in, by the name of a class or of a model
    state = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    split = {
        "type": "Split",
        "pattern": {"Regex": "[0-9]"},
        "behavior": "Isolated",
        "invert": False,
    }
    byte_level = state["pre_tokenizer"]
    state["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, byte_level]}
    (folder / "tokenizer.json").write_text(json.dumps(state), encoding="utf-8")
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    config["tokenizer_class"] = declared
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "config.json").write_text('{"model_type": "qwen2"}', encoding="utf-8")
    backend = load_tokenizer(folder).hf.backend_tokenizer
    found = json.loads(backend.to_str())
    assert found["pre_tokenizer"] == state["pre_tokenizer"]
    assert found["normalizer"] is None


def test_without_a_pad_token_there_is_no_such_role(tmp_path, byte_level_tokenizer):
    backend = byte_level_tokenizer.backend_tokenizer
    bare = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")
    bare.save_pretrained(tmp_path / "bare")
    view = load_tokenizer(tmp_path / "bare")
    assert list(view.roles) == ["eos"]
    with pytest.raises(ValueError, match="has no pad token"):
        view.id_of("pad")


def test_slow_only(tmp_path):
    config = {"tokenizer_class": "ByT5Tokenizer"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match="is a ByT5Tokenizer, which has no fast version"):
        load_tokenizer(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(ValueError, match="no tokenizer at 'nobody/nothing': expected 'bytes', a"):
        load_tokenizer("nobody/nothing")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match=r"no tokenizer in the folder .*empty', which has no file"):
        load_tokenizer(empty)
    # transformers would make a Llama tokenizer of three tokens out of this
    (empty / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"which has config\.json: expected"):
        load_tokenizer(empty)
    (empty / "tokenizer.model").write_bytes(b"\n")
    with pytest.raises(ValueError, match=r"Give the tokenizer file itself: .*tokenizer\.model"):
        load_tokenizer(empty)


def test_damaged_and_foreign_files(tmp_path, folder):
    path = folder / "tokenizer.json"
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole[:500], encoding="utf-8")
    with pytest.raises(ValueError, match="starts like JSON and can't be read"):
        load_tokenizer(path)
    with pytest.raises(ValueError, match=r"the tokenizer\.json in .* can't be read"):
        load_tokenizer(folder)
    path.write_text(whole.replace('"type": "BPE"', '"type": "New"', 1), encoding="utf-8")
    with pytest.raises(ValueError, match="that the tokenizers library can't read"):
        load_tokenizer(path)
    path.write_text('{"text": "a document"}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"is JSON, but neither .* it has text"):
        load_tokenizer(path)
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match=r"starts with b'PK\\x03\\x04'\. Expected 'bytes'"):
        load_tokenizer(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="not a tokenizer that is known here"):
        load_tokenizer(path)


def test_options_of_rank_files_are_for_rank_files(folder):
    for spec in (folder, folder / "tokenizer.json", "bytes"):
        with pytest.raises(ValueError, match="pattern and normalizer can't be set for"):
            load_tokenizer(spec, pattern="gpt2", normalizer="NFC")
    with pytest.raises(ValueError, match=r"bytes\.view\.byte_view"):
        load_tokenizer("bytes", eos="<eos>")
