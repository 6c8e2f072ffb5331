"""SmolLM2 on GSM8K and on pairs of BLiMP by lm-eval, against transformers' own, to four digits."""

import gzip
import json
import math
import os
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import pytest
import torch
from tests.runs import REPOSITORY
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from alm_lightning.app.evaluate.models import find_model, load_evaluated
from alm_lightning.evaluation.lm_eval.harness import LmEval
from alm_lightning.evaluation.suites.blimp import Blimp
from alm_lightning.evaluation.suites.gsm8k import Gsm8k

DATA = Path(os.environ.get("ALM_LIGHTNING_DATA", "no-data"))
NUM_PROBLEMS = 3

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not DATA.is_dir(), reason="ALM_LIGHTNING_DATA names no folder with GSM8K and BLiMP"
    ),
]


@pytest.fixture(scope="module")
def real():
    """The model by this project, and by transformers alone."""
    entry = find_model("smollm2_135m", REPOSITORY / "conf" / "model")
    evaluated = load_evaluated(entry, "float32", "cpu")
    folder = entry.source.resolve().path
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return evaluated, model, PreTrainedTokenizerFast.from_pretrained(folder)


@torch.inference_mode()
def bits(model, before, after):
    logits = model(input_ids=torch.tensor([[*before, *after]])).logits[0]
    logprobs = logits[len(before) - 1 : -1].double().log_softmax(-1)
    return -float(logprobs.gather(1, torch.tensor(after)[:, None]).sum()) / math.log(2)


@pytest.mark.parametrize("chat", [False, True])
def test_bits_per_byte_of_reference_answers(real, chat):
    evaluated, model, tokenizer = real
    suite = Gsm8k(
        path=str(DATA / "gsm8k_test.jsonl"),
        question_column="question",
        answer_column="answer",
        figure_column=None,
        mark="####",
        limit=NUM_PROBLEMS,
        chat=chat,
        fewshot=0,
        fewshot_path=None,
        max_new_tokens=4,
        max_new_bytes=None,
        batch_size=NUM_PROBLEMS,
    )
    result = suite.result(dict(suite.records(evaluated, suite.prepare())))
    with (DATA / "gsm8k_test.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in islice(lines, NUM_PROBLEMS)]
    total, size = 0.0, 0
    for row in rows:
        answer = row["answer"] if chat else f" {row['answer']}"
        if chat:
            turn = [{"role": "user", "content": row["question"]}]
            prompt = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        else:
            prompt = f"{tokenizer.eos_token}Question: {row['question']}\nAnswer:"
        before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        total += bits(model, before, tokenizer(answer, add_special_tokens=False)["input_ids"])
        size += len(answer.encode())
    found = result.figures["answer_bits_per_byte"]
    assert found.value == pytest.approx(total / size, rel=1e-4)
    assert 0.1 < found.value < 2
    assert [sample["reference"] for sample in result.samples] == ["18", "3", "70000"]


@pytest.mark.skipif(find_spec("lm_eval") is None, reason="lm-eval is not installed")
@pytest.mark.filterwarnings("ignore")
def test_blimp_by_lm_eval(real, tmp_path):
    evaluated, _, _ = real
    pairs = tmp_path / "pairs.jsonl"
    with gzip.open(DATA / "blimp.jsonl.gz", "rt", encoding="utf-8") as lines:
        pairs.write_text("".join(islice(lines, 0, None, 1000)), "utf-8")
    (tmp_path / "local_blimp.yaml").write_text(
        f"""\
task: local_blimp
dataset_path: json
dataset_kwargs: {{data_files: {{test: {pairs}}}, cache_dir: {tmp_path / "cache"}}}
output_type: multiple_choice
test_split: test
doc_to_text: ""
doc_to_target: 0
target_delimiter: ""
doc_to_choice: "{{{{[sentence_good, sentence_bad]}}}}"
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 1}}
""",
        "utf-8",
    )
    by_lm_eval = LmEval(
        tasks="local_blimp",
        include_path=str(tmp_path),
        num_fewshot=None,
        limit=None,
        chat=False,
        fewshot_as_multiturn=True,
        max_length=None,
        batch_size=8,
        gen_kwargs={},
        bytes_per_token=5,
        bootstrap_iters=0,
        seed=0,
    )
    own = Blimp(path=str(pairs), pairs=None)
    found = by_lm_eval.result(dict(by_lm_eval.records(evaluated, by_lm_eval.prepare())))
    expected = own.result(dict(own.records(evaluated, own.prepare())))
    accuracy = expected.figures["accuracy"]
    assert found.figures["local_blimp acc"].value == accuracy.value
    assert accuracy.count == 67
    assert accuracy.value > 0.6
