"""GSM8K: what an answer comes to, and how likely the reference answer is."""

import json
import math

import pytest
import torch
from tests.unit.evaluation.suites.test_gsm8k_more import SETTINGS

from alm_lightning.corpus.document import CorpusError
from alm_lightning.evaluation.suites.gsm8k import Gsm8k

PROBLEMS = [
    {"question": "How much is 2 plus 3?", "answer": "2 + 3 = 5\n#### 5"},
    {"question": "A fox costs $12.50. Two of them?", "answer": "2 * 12.5 = 25\n#### 25"},
    {"question": "Who has 1,299 dogs?", "answer": "He has.\n#### 1,299"},
]


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in PROBLEMS), "utf-8")
    return path


def suite(path, **changes):
    settings = SETTINGS | {"batch_size": 2}
    return Gsm8k(path=str(path), **(settings | changes))


def nats(evaluated, text):
    ids = [evaluated.view.start_id, *evaluated.view.encode(text).ids.tolist()]
    ids = torch.tensor([ids])
    with torch.no_grad():
        logprobs = evaluated.model(input_ids=ids).logits[0].double().log_softmax(-1)
    return -float(logprobs[:-1].gather(1, ids[0, 1:, None]).sum())


def test_reference_answers_have_the_likelihood_that_transformers_gives(evaluated_models, data):
    # with bytes as tokens, what is said before an answer can be taken off exactly
    evaluated = evaluated_models["bytes"]
    harness = suite(data)
    records = dict(harness.records(evaluated, harness.prepare()))
    expected, size = 0.0, 0
    for row in PROBLEMS:
        prompt = f"Question: {row['question']}\nAnswer:"
        expected += nats(evaluated, f"{prompt} {row['answer']}") - nats(evaluated, prompt)
        size += len(row["answer"].encode()) + 1
    result = harness.result(records)
    found = result.figures["answer_bits_per_byte"]
    assert found.value == pytest.approx(expected / math.log(2) / size, abs=1e-4)
    assert (found.count, result.figures["exact_match"].count) == (3, 3)
    assert [sample["reference"] for sample in result.samples] == ["5", "25", "1299"]
    assert all(len(record["answer"].encode()) <= 12 * 3 for record in records.values())


@pytest.mark.parametrize(
    ("written", "right"),
    [("It is 4. #### 5", 5), (" $25.00", 25), ("1299 dogs", 1299), ("no figure", None)],
)
def test_an_answer_is_right_if_it_comes_to_the_same_number(
    evaluated_models, data, monkeypatch, written, right
):
    from alm_lightning.evaluation.generation.texts import GeneratedText
    from alm_lightning.evaluation.suites import gsm8k

    def says(evaluated, prompts, *args, **kwargs):
        return [GeneratedText(written, 3, len(written), stopped=True) for _ in prompts]

    monkeypatch.setattr(gsm8k, "generate_texts", says)
    harness = suite(data)
    records = dict(harness.records(evaluated_models["gemma"], harness.prepare()))
    expected = [right == figure for figure in (5, 25, 1299)]
    assert [record["right"] for record in records.values()] == expected
    result = harness.result(records)
    assert result.figures["exact_match"].value == pytest.approx(sum(expected) / 3)
    assert result.figures["stopped"].value == 1.0


def test_solved_problems_come_first(evaluated_models, data, tmp_path):
    shots = tmp_path / "train.jsonl"
    shots.write_text(json.dumps({"question": "1+1?", "answer": "#### 2"}) + "\n", "utf-8")
    harness = suite(data, fewshot=1, fewshot_path=str(shots), limit=1, max_new_bytes=1)
    [(_, record)] = harness.records(evaluated_models["bytes"], harness.prepare())
    assert record["prompt"] == (
        "Question: 1+1?\nAnswer: #### 2\n\nQuestion: How much is 2 plus 3?\nAnswer:"
    )


@pytest.mark.parametrize(
    ("row", "changes", "error", "said"),
    [
        ({"q": "?", "answer": "#### 1"}, {}, CorpusError, "no column 'question'"),
        ({"question": "?", "answer": "one"}, {}, CorpusError, "no '####'"),
        ({"question": "?", "answer": "#### one"}, {}, CorpusError, "no number"),
        ({"question": "?", "answer": "#### 1"}, {"fewshot": 1}, ValueError, "fewshot"),
        ({"question": "?", "answer": "#### 1"}, {"limit": 0}, ValueError, "limit"),
    ],
)
def test_what_is_no_problem_is_refused(tmp_path, row, changes, error, said):
    path = tmp_path / "problems.jsonl"
    path.write_text(json.dumps(row) + "\n", "utf-8")
    with pytest.raises(error, match=said):
        suite(path, **changes).prepare()


def test_a_missing_or_empty_file_is_refused(tmp_path):
    with pytest.raises(CorpusError, match="no file"):
        suite(tmp_path / "none.jsonl").prepare()
    (tmp_path / "empty.jsonl").write_text("\n", "utf-8")
    with pytest.raises(CorpusError, match="no problems"):
        suite(tmp_path / "empty.jsonl").prepare()
