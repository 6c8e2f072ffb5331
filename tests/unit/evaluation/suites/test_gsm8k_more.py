"""GSM8K: what is asked, and nats of reference answers by whole logits, in chats too."""

import json
import math

import pytest
import torch

from alm_lightning.corpus.document import CorpusError
from alm_lightning.evaluation.generation.texts import GeneratedText
from alm_lightning.evaluation.suites import gsm8k
from alm_lightning.evaluation.suites.gsm8k import Gsm8k

ROWS = [
    {"question": "The fox has 9 eggs and 3 more?", "answer": "9 + 3 = <<9+3=12>>12 eggs\n#### 12"},
    {"question": "Two dogs cost $600 each.", "answer": "600 * 2 = 1,200\n#### 1,200"},
    {"question": "Half of 5?", "answer": "5 / 2 = 2.5\n#### 2.5"},
    {"question": "Größe, 日本?", "answer": "It cost 7.\n#### 7"},
]
SETTINGS = {
    "question_column": "question",
    "answer_column": "answer",
    "figure_column": None,
    "mark": "####",
    "limit": None,
    "chat": False,
    "fewshot": 0,
    "fewshot_path": None,
    "max_new_tokens": None,
    "max_new_bytes": 12,
    "batch_size": 3,
}


@pytest.fixture
def write(tmp_path):
    def written(rows, name="problems.jsonl"):
        path = tmp_path / name
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        return str(path)

    return written


def harness(path, **changes):
    return Gsm8k(path=path, **(SETTINGS | changes))


@pytest.fixture
def writes(monkeypatch):
    """Has every model write given texts."""
    asked = []

    def installed(*texts):
        left = iter(texts)

        def generate(evaluated, prompts, sampling, stops, *, batch_size):
            asked.append((prompts, stops))
            return [
                GeneratedText(text := next(left), 3, len(text), place % 2 == 0)
                for place in range(len(prompts))
            ]

        monkeypatch.setattr(gsm8k, "generate_texts", generate)
        return asked

    return installed


def whole_nats(evaluated, ids, first):
    given = torch.tensor([ids])
    with torch.no_grad():
        logprobs = evaluated.model(input_ids=given).logits[0].double().log_softmax(-1)
    return -float(logprobs[first - 1 : -1].gather(1, given[0, first:, None]).sum())


def num_tokens_of(view, tokens, text):
    """How many tokens at the end spell a byte of a text."""
    count, size = 0, 0
    while size < len(text.encode()):
        count += 1
        size += len(view.token_bytes[tokens[-count]])
    return count


def test_figures_and_their_errors(evaluated_models, write, writes):
    writes("I think\n#### 12.0 eggs", "so $1200.", "#### 3", "nothing")
    suite = harness(write(ROWS))
    records = dict(suite.records(evaluated_models["gemma"], suite.prepare()))
    assert [record["right"] for record in records.values()] == [True, True, False, False]
    assert [record["figure"] for record in records.values()] == ["12", "1200", "3", None]
    result = suite.result(records)
    found = result.figures["exact_match"]
    assert (found.value, found.count, found.unit) == (0.5, 4, "accuracy")
    assert found.stderr == pytest.approx(math.sqrt(0.5 * 0.5 / 3))
    # batches of 3 and 1: the first and third text of a batch stopped
    assert result.figures["stopped"].value == 0.75
    assert result.figures["stopped"].lower_is_better is None
    # problems that were asked as texts are no chats
    assert result.chats == []
    # solved problems before the question are no answers of the model
    solved = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "#### 2"}]
    asked = [*solved, {"role": "user", "content": "?"}]
    as_chats = {key: {**record, "prompt": asked} for key, record in records.items()}
    answers = [r["answer"] for r in records.values() if r["stopped"]]
    assert [[m["content"] for m in chat] for chat in suite.result(as_chats).chats] == [
        ["?", answer] for answer in answers
    ]
    json.dumps(records, allow_nan=False)


@pytest.mark.parametrize("name", ["bytes", "gemma"])
def test_bits_per_byte_of_plain_answers(evaluated_models, write, writes, name):
    writes(*["1"] * 4)
    evaluated, suite = evaluated_models[name], harness(write(ROWS))
    records = dict(suite.records(evaluated, suite.prepare()))
    bits, sizes = [], []
    for row in ROWS:
        answer = f" {row['answer']}"
        prompt = f"Question: {row['question']}\nAnswer:"
        tokens = evaluated.view.encode(prompt + answer).ids.tolist()
        count = num_tokens_of(evaluated.view, tokens, answer)
        ids = [evaluated.view.start_id, *tokens]
        bits.append(whole_nats(evaluated, ids, len(ids) - count) / math.log(2))
        sizes.append(len(answer.encode()))
    assert [r["nats"] / math.log(2) for r in records.values()] == pytest.approx(bits, abs=1e-3)
    found = suite.result(records).figures["answer_bits_per_byte"]
    value = sum(bits) / sum(sizes)
    assert found.value == pytest.approx(value, abs=1e-5)
    spread = sum((b - value * s) ** 2 for b, s in zip(bits, sizes, strict=True))
    assert found.stderr == pytest.approx(math.sqrt(4 / 3 * spread) / sum(sizes), rel=1e-3)
    assert (found.unit, found.lower_is_better) == ("bits/byte", True)


def test_bits_per_byte_of_answers_in_a_chat(evaluated_models, write, writes):
    asked = writes(*["1"] * 4)
    evaluated = evaluated_models["gemma"]
    suite = harness(write(ROWS), chat=True)
    records = dict(suite.records(evaluated, suite.prepare()))
    view, special = evaluated.view, evaluated.view.special_ids
    for row, record in zip(ROWS, records.values(), strict=True):
        texts = f"user\n{row['question']}", "\n", f"model\n{row['answer']}"
        user, newline, model = (view.encode(t, continued=True).ids.tolist() for t in texts)
        ids = [special["<bos>"], special["<start_of_turn>"], *user, special["<end_of_turn>"]]
        ids += [*newline, special["<start_of_turn>"], *model]
        count = num_tokens_of(view, model, row["answer"])
        expected = whole_nats(evaluated, ids, len(ids) - count)
        assert record["nats"] == pytest.approx(expected, abs=1e-3)
        assert record["num_bytes"] == len(row["answer"].encode())
    (prompts, stops), _ = asked
    assert not stops
    opening = view.encode("model\n", continued=True).ids.tolist()
    assert list(prompts[0])[-len(opening) :] == opening


def test_solved_problems_are_turns_of_a_chat(evaluated_models, write, writes):
    solved = write(ROWS[2:], "train.jsonl")
    suite = harness(write(ROWS[:1]), fewshot=2, fewshot_path=solved, chat=True)
    writes("1")
    [(_, record)] = suite.records(evaluated_models["gemma"], suite.prepare())
    roles = [turn["role"] for turn in record["prompt"]]
    assert roles == ["user", "assistant", "user", "assistant", "user"]


def test_what_is_resumed_is_what_would_have_been_found(evaluated_models, write):
    suite = harness(write(ROWS))
    keys = suite.prepare()
    records = dict(suite.records(evaluated_models["gemma"], keys))
    assert list(records) == keys
    assert dict(suite.records(evaluated_models["gemma"], keys[2:])) == {
        key: {**records[key], "nats": pytest.approx(records[key]["nats"], abs=1e-4)}
        for key in keys[2:]
    }


def test_keys_hold_place_and_question(write):
    keys = harness(write([ROWS[0], "", ROWS[1]])).prepare()
    assert [key.partition(":")[0] for key in keys] == ["1", "3"]
    others = harness(write([{**ROWS[0], "question": "Another?"}, "", ROWS[1]])).prepare()
    assert keys[0] != others[0]
    assert keys[1] == others[1]
    assert harness(write(ROWS), limit=1).prepare() == keys[:1]


def test_other_columns_and_boxed_figures(write):
    rows = [
        {"problem": "1?", "solution": r"So \boxed{1{,}000}.", "expected": "1,000"},
        {"problem": "2?", "solution": "So 3, 4.", "expected": "5"},
    ]
    columns = {"question_column": "problem", "answer_column": "solution"}
    for changes, expected in (
        ({"mark": None}, [1000, 4]),
        ({"figure_column": "expected"}, [1000, 5]),
    ):
        suite = harness(write(rows), **columns, **changes)
        suite.prepare()
        assert [problem.figure for problem in suite.problems.values()] == expected


@pytest.mark.parametrize(
    ("rows", "changes", "said"),
    [
        (["{not json"], {}, r"problems\.jsonl:1: not JSON"),
        (["[1]"], {}, r"found \[1\]; expected a problem"),
        ([{"problem": "x", "answer": "#### 1"}], {}, "'question'; it has answer, problem"),
        ([{"question": "x", "answer": 5}], {}, "expected text"),
        ([{"question": "x", "answer": "So 5."}], {}, r"'####'.*'So 5\.'.*figure_column.*mark"),
        ([{"question": "x", "answer": "So none."}], {"mark": None}, "no number"),
        ([{"question": "x", "answer": " "}], {}, "answer is empty"),
        ([{"question": "x", "answer": "a", "f": "b"}], {"figure_column": "f"}, "no number in col"),
        (ROWS, {"fewshot": 5, "fewshot_path": "SELF"}, "holds 4 problems"),
    ],
)
def test_a_file_that_is_no_use_is_refused(write, rows, changes, said):
    path = write(rows)
    changes = {name: path if value == "SELF" else value for name, value in changes.items()}
    with pytest.raises(CorpusError, match=said):
        harness(path, **changes).prepare()


def test_problems_are_not_asked_with_their_solution_before_them(write):
    path = write(ROWS)
    with pytest.raises(CorpusError, match=r"2 of the 2 solved .*Take solved problems of"):
        harness(path, fewshot=2, fewshot_path=path).prepare()
    # those of the file that are not asked may be shown
    shots = write(ROWS[2:], "train.jsonl")
    assert len(harness(path, limit=2, fewshot=1, fewshot_path=shots).prepare()) == 2


def test_a_column_of_fractions(write):
    rows = [{"question": "1?", "answer": "a half", "f": text} for text in ("1/2", r"\frac{1}{4}")]
    suite = harness(write(rows), figure_column="f")
    suite.prepare()
    assert [float(problem.figure) for problem in suite.problems.values()] == [0.5, 0.25]


def test_a_problem_longer_than_the_context(short_context, write):
    suite = harness(write([ROWS[2], {**ROWS[0], "question": "long " * 50}]))
    keys = suite.prepare()
    with pytest.raises(ValueError, match=r"problems\.jsonl:\d has .* at most 24.*fewshot"):
        next(suite.records(short_context, keys))
