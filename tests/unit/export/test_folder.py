"""An exported folder: complete or absent, and readable without this project."""

import errno
import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from alm_lightning.export.card import model_card
from alm_lightning.export.folder import export_folder
from alm_lightning.models.bytes.student import byte_student
from alm_lightning.tokenization.bytes.fast import byte_tokenizer

SIZES = {
    "vocab_size": 280,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
BODIES = {
    "gemma3": Gemma3TextConfig(**SIZES, head_dim=8, sliding_window=8, sliding_window_pattern=2),
    "gemma2": Gemma2Config(**SIZES, head_dim=8, sliding_window=8, final_logit_softcapping=0.5),
    "llama": LlamaConfig(**SIZES),
}
SPECIALS = ["<bos>", "<eos>", "<pad>", "<end_of_turn>"]
TEXT = "the café, the thé"

# none of this project, as on another machine
READER = """
import sys
sys.modules["alm_lightning"] = None
import json, torch
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer
torch.set_num_threads(1)
cases = []
for folder in json.loads(sys.argv[1]):
    assert AutoTokenizer.from_pretrained(folder)("é").input_ids == [256, 0xC3, 0xA9]
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    inputs = tokenizer([sys.argv[2], "a"], return_tensors="pt", padding=True)
    logits = model(**tokenizer(sys.argv[2], return_tensors="pt")).logits
    output = model.generate(**inputs, max_new_tokens=20, do_sample=False)
    home = type(model).__module__
    cases.append({"logits": logits.tolist(), "output": output.tolist(), "home": home})
Path(sys.argv[3]).write_text(json.dumps(cases))
"""


def byte_student_of(family):
    torch.manual_seed(0)
    old = AutoModelForCausalLM.from_config(BODIES[family], dtype=torch.float32)
    torch.nn.init.normal_(old.get_input_embeddings().weight, std=0.3)
    tokens = [None, None, None, *(bytes([b]) for b in range(256)), b"the", b" the", b"caf", None]
    return byte_student(
        old,
        token_bytes=tokens,
        special_ids={"<bos>": 2, "<eos>": 1, "<pad>": 0, "<end_of_turn>": 262},
        fallback_ids=(),
        expansion=True,
        train_expansion=False,
        dtype=torch.float32,
    )


def byte_tokenizer_of():
    return byte_tokenizer(SPECIALS, bos="<bos>", eos="<eos>", pad="<pad>")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    parent = tmp_path_factory.mktemp("exports")
    students = {}
    for family in BODIES:
        student, path = byte_student_of(family), parent / "deep" / family
        assert (
            export_folder(student, byte_tokenizer_of(), path, card="# x", dtype=torch.float32)
            == path
        )
        students[family] = (student, path)
    return students


@pytest.mark.slow
def test_another_process_reads_it_without_this_project(exported, tmp_path):
    folders = json.dumps([str(path) for _, path in exported.values()])
    run = subprocess.run(
        [sys.executable, "-I", "-c", READER, folders, TEXT, str(tmp_path / "read.json")],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin"},
    )
    assert run.returncode == 0, run.stderr
    cases = json.loads((tmp_path / "read.json").read_text())
    for (student, _), case in zip(exported.values(), cases, strict=True):
        student.eval()
        assert case["home"].startswith("transformers_modules")
        inputs = byte_tokenizer_of()([TEXT, "a"], return_tensors="pt", padding=True)
        ids = torch.tensor([[256, *TEXT.encode()]])
        torch.testing.assert_close(
            torch.tensor(case["logits"]), student(ids).logits, rtol=0, atol=1e-4
        )
        expected = student.generate(**inputs, max_new_tokens=20, do_sample=False)
        assert case["output"] == expected.tolist()


def test_folder_holds_what_it_should_and_no_more(exported):
    _, path = exported["gemma3"]
    assert {f.name for f in path.iterdir()} == {
        *("README.md", "config.json", "generation_config.json", "model.safetensors"),
        *("byte_lm.py", "byte_config.py", "byte_expansion.py"),
        *("tokenizer.json", "tokenizer_config.json"),
    }
    assert [f.name for f in path.parent.iterdir() if f.name.startswith(".")] == []
    config = json.loads((path / "config.json").read_text())
    assert config["auto_map"] == {
        "AutoConfig": "byte_config.ByteLMConfig",
        "AutoModelForCausalLM": "byte_lm.ByteForCausalLM",
    }
    generation = json.loads((path / "generation_config.json").read_text())
    assert [generation[f"{role}_token_id"] for role in ("bos", "eos", "pad")] == [256, 257, 258]


def test_weights_are_written_in_the_type_asked_for(tmp_path):
    student = byte_student_of("llama")
    export_folder(
        student, byte_tokenizer_of(), tmp_path / "x", card="", dtype=torch.bfloat16, stop_ids=[259]
    )
    types = {tensor.dtype for tensor in load_file(tmp_path / "x/model.safetensors").values()}
    assert types == {torch.bfloat16, torch.int64, torch.int32}
    config = json.loads((tmp_path / "x/config.json").read_text())
    assert (config["dtype"], config["body_config"]["dtype"]) == ("bfloat16", "bfloat16")
    generation = json.loads((tmp_path / "x/generation_config.json").read_text())
    assert generation["eos_token_id"] == [257, 259]
    # the student itself is as it was
    assert {p.dtype for p in student.parameters()} == {torch.float32}
    assert student.config.dtype != torch.bfloat16
    assert student.generation_config.eos_token_id == 257
    assert student.training


@pytest.mark.parametrize("tied", [True, False])
def test_a_plain_student_becomes_a_plain_folder(tmp_path, tied):
    config = Gemma3TextConfig(**SIZES, head_dim=8, tie_word_embeddings=tied)
    student = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    path = export_folder(
        student, byte_tokenizer_of(), tmp_path / "x", card="y", dtype=torch.float32
    )
    assert not list(path.glob("*.py"))
    assert ("lm_head.weight" in load_file(path / "model.safetensors")) != tied
    read = AutoModelForCausalLM.from_pretrained(path)
    ids = torch.tensor([[1, 2, 3]])
    torch.testing.assert_close(read(ids).logits, student.eval()(ids).logits)
    assert isinstance(AutoTokenizer.from_pretrained(path), PreTrainedTokenizerFast)


def test_nothing_is_ever_written_over(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/mine").write_text("mine")
    with pytest.raises(FileExistsError, match=r"x exists.* Choose another folder"):
        export_folder(
            byte_student_of("llama"),
            byte_tokenizer_of(),
            tmp_path / "x",
            card="",
            dtype=torch.float32,
        )
    assert [f.name for f in tmp_path.rglob("*")] == ["x", "mine"]


@pytest.mark.parametrize(
    "failure",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        ),
    ],
    ids=["python", "safetensors"],
)
def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch, failure):
    tokenizer = byte_tokenizer_of()

    def fail(folder):
        raise failure

    monkeypatch.setattr(tokenizer, "save_pretrained", fail)
    with pytest.raises(OSError, match=r"no space left on the disk .* Free some space") as caught:
        export_folder(
            byte_student_of("llama"), tokenizer, tmp_path / "x", card="", dtype=torch.float32
        )
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_export_has_left_is_in_nobodys_way(tmp_path):
    """Numbers of processes come again, above all in containers."""
    left = tmp_path / f".x.partial-{os.getpid()}"
    left.mkdir()
    path = export_folder(
        byte_student_of("llama"), byte_tokenizer_of(), tmp_path / "x", card="", dtype=torch.float32
    )
    assert (path / "README.md").is_file()
    assert {*tmp_path.iterdir()} == {left, path}


def test_card_is_markdown_with_a_front_matter():
    card = model_card(
        title="Bytes",
        base_model="google/gemma-3-270m",
        license_note="Gemma's terms of use apply.",
        how_made="By distillation.",
        recipe={"steps": 20, "note": "a | b\nc"},
        figures={"bits per byte": 1.23456789},
        is_byte_model=True,
    )
    assert card.startswith('---\nbase_model: "google/gemma-3-270m"\n')
    assert "  - byte-level\n---\n\n# Bytes\n\nBy distillation.\n" in card
    assert "| bits per byte | 1.235 |" in card
    assert "| note | a \\| b c |" in card
    assert "AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)" in card
    assert "AutoTokenizer.from_pretrained(folder, trust_remote_code=False)" in card
    assert "Gemma's terms of use apply." in card
    plain = model_card(
        title="Plain",
        base_model="x",
        license_note="None.",
        how_made="So.",
        recipe={},
        figures={},
        is_byte_model=False,
    )
    assert "trust_remote_code" not in plain
    assert plain.count("None recorded.") == 2
