"""Three real models as they are: evaluate.py's numbers against those of transformers."""

import gzip
import json
import math
import os
from itertools import islice
from pathlib import Path

import pytest
import torch
from tests.runs import REPOSITORY
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from alm_lightning.app.evaluate.models import find_model, load_evaluated
from alm_lightning.corpus.sources.columns import PlainText
from alm_lightning.corpus.sources.files import JsonLines
from alm_lightning.evaluation.suites.bits_per_byte import BitsPerByte
from alm_lightning.evaluation.suites.blimp import Blimp

DATA = Path(os.environ.get("ALM_LIGHTNING_DATA", "no-data"))
NAMES = ["gemma3_270m", "smollm2_135m", "qwen2_5_coder_0_5b"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not DATA.is_dir(), reason="ALM_LIGHTNING_DATA names no folder with prose and BLiMP"
    ),
]


@pytest.fixture(scope="module", params=NAMES)
def real(request):
    """A model by this project, and by transformers alone."""
    entry = find_model(request.param, REPOSITORY / "conf" / "model")
    evaluated = load_evaluated(entry, "float32", "cpu")
    folder = entry.source.resolve().path
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return evaluated, model, PreTrainedTokenizerFast.from_pretrained(folder)


@torch.inference_mode()
def nats(model, tokenizer, start, text):
    """Sum over all tokens of a text that fits into the context, whole logits."""
    ids = torch.tensor([[start, *tokenizer(text, add_special_tokens=False)["input_ids"]]])
    logprobs = model(input_ids=ids).logits[0, :-1].double().log_softmax(-1)
    return -float(logprobs.gather(1, ids[0, 1:, None]).sum())


def first_rows(name, count=None):
    opener = gzip.open if name.endswith(".gz") else open
    with opener(DATA / name, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in islice(lines, count)]


def start_of(tokenizer):
    """Gemma has a BOS of its own; the others read a document after the end of the one before."""
    starts = tokenizer("")["input_ids"]
    return starts[0] if starts else tokenizer.eos_token_id


def test_bits_per_byte_by_group(real, tmp_path):
    evaluated, model, tokenizer = real
    rows = first_rows("prose_en.jsonl.gz", 6)
    every = first_rows("multilingual.jsonl")
    locales = sorted({row["lang"] for row in every})[:27:4]
    rows += [{"lang": n, **next(r for r in every if r["lang"] == n)} for n in locales]
    rows = [{"text": row["text"][:400], "lang": row.get("lang", "en")} for row in rows]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    harness = BitsPerByte(
        source=JsonLines(path=str(path), column="text", reader=PlainText(), group_column="lang"),
        context_bytes=4096,
        stride_bytes=2048,
        leave_out=0.0,
        max_documents=None,
    )
    result = harness.result(dict(harness.records(evaluated, harness.prepare())))
    totals = {}
    for row in rows:
        found = nats(model, tokenizer, start_of(tokenizer), row["text"])
        for name in ("all", row["lang"]):
            bits, size = totals.get(name, (0.0, 0))
            totals[name] = (bits + found / math.log(2), size + len(row["text"].encode()))
    expected = {name: bits / size for name, (bits, size) in totals.items()}
    found = {
        name: figures["bits_per_byte"].value for name, figures in result.groups["group"].items()
    }
    found["all"] = result.figures["bits_per_byte"].value
    assert found == {name: pytest.approx(value, rel=1e-4) for name, value in expected.items()}
    assert 0.5 < found["all"] < 4


def test_blimp(real):
    evaluated, model, tokenizer = real
    harness = Blimp(path=str(DATA / "blimp.jsonl.gz"), pairs=1)
    keys = harness.prepare()
    assert len(keys) == 67
    records = dict(harness.records(evaluated, keys[::3]))
    start = start_of(tokenizer)
    for key, record in records.items():
        pair = harness.pairs[key]
        good, bad = (
            -nats(model, tokenizer, start, pair[name]) for name in ("sentence_good", "sentence_bad")
        )
        assert record["difference_nats"] == pytest.approx(good - bad, abs=2e-3)
    assert harness.result(records).figures["accuracy"].value > 0.55
