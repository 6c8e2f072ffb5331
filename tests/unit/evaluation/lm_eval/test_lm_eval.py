"""lm-eval's own tasks, from local files, by tiny models."""

import json
import math
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from types import SimpleNamespace

import pytest

from alm_lightning.evaluation.ensemble import Ensemble
from alm_lightning.evaluation.lm_eval import tasks as lm_eval_tasks
from alm_lightning.evaluation.lm_eval.harness import LmEval
from alm_lightning.evaluation.lm_eval.model import LmEvalModel
from alm_lightning.evaluation.lm_eval.settings import Writing
from alm_lightning.evaluation.store import as_plain
from alm_lightning.evaluation.suites.blimp import Blimp

pytestmark = [
    # not importorskip, which would import it while tests are collected
    pytest.mark.skipif(
        find_spec("lm_eval") is None,
        reason="lm-eval is not installed: pip install 'alm-lightning[eval]'",
    ),
    # of lm-eval and of what it imports
    *(
        pytest.mark.filterwarnings(f"ignore::{kind}")
        for kind in ("DeprecationWarning", "FutureWarning", "UserWarning", "ResourceWarning")
    ),
]
PAIRS = [
    ("agreement", "morphology", "The quick fox jumps.", "The quick fox jump."),
    ("agreement", "morphology", "A statement is executed.", "A statement are executed."),
    ("agreement", "morphology", "It costs 12.", "It cost 12."),
    ("islands", "syntax", "Who is it?", "Who is it that?"),
    ("islands", "syntax", "Dog bites man.", "man bites Dog."),
]
COLUMNS = ("UID", "linguistics_term", "sentence_good", "sentence_bad")
QUESTIONS = [
    {"question": "Which is first?", "answer": "A"},
    {"question": "Which is last?", "answer": "D"},
    {"question": "Which is quick?", "answer": "The fox"},
]
PAIR_TASK = """\
task: {name}
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
  cache_dir: {cache}
output_type: multiple_choice
test_split: test
doc_to_text: ""
doc_to_target: 0
target_delimiter: ""
doc_to_choice: "{{{{[sentence_good, sentence_bad]}}}}"
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1.5}}
"""
ANSWER_TASK = """\
task: tiny_answers
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}, train: {data}}}
  cache_dir: {cache}
output_type: generate_until
training_split: train
test_split: test
fewshot_split: train
doc_to_text: "Q: {{{{question}}}}\\nA:"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 4}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
metadata: {{version: 2}}
"""
ROLLING_TASK = """\
task: tiny_text
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
  cache_dir: {cache}
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{{{question}}}}"
metric_list:
  - {{metric: bits_per_byte}}
metadata: {{version: 1}}
"""
GROUP = """\
group: tiny_group
task: [tiny_pairs, tiny_pairs_again]
aggregate_metric_list:
  - {metric: acc, weight_by_size: true}
metadata: {version: 1}
"""
SETTINGS = {
    "num_fewshot": None,
    "limit": None,
    "chat": False,
    "fewshot_as_multiturn": True,
    "max_length": None,
    "batch_size": 2,
    "gen_kwargs": {},
    "bytes_per_token": 5,
    "bootstrap_iters": 100,
    "seed": 0,
}


@pytest.fixture
def folder(tmp_path):
    """A folder of tasks and their data."""
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    files = {"pairs": [dict(zip(COLUMNS, pair, strict=True)) for pair in PAIRS]}
    files |= {"fewer": files["pairs"][:2], "questions": QUESTIONS}
    for name, rows in files.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(lines, "utf-8")
    cache = tmp_path / "cache"

    def write(name, text, data):
        filled = text.format(name=name, data=tmp_path / f"{data}.jsonl", cache=cache)
        (tasks / f"{name}.yaml").write_text(filled, "utf-8")

    write("tiny_pairs", PAIR_TASK, "pairs")
    write("tiny_pairs_again", PAIR_TASK, "fewer")
    write("tiny_answers", ANSWER_TASK, "questions")
    write("tiny_text", ROLLING_TASK, "questions")
    (tasks / "group.yaml").write_text(GROUP, "utf-8")
    return tmp_path


def harness(folder, *tasks, **changes):
    settings = {**SETTINGS, "include_path": str(folder / "tasks"), **changes}
    return LmEval(tasks=list(tasks), **settings)


def run(suite, evaluated):
    records = dict(suite.records(evaluated, suite.prepare()))
    # what a store does with them
    return suite.result(json.loads(json.dumps(records, allow_nan=False))), records


@pytest.mark.parametrize("name", ["bytes", "gemma", "ensemble"])
def test_minimal_pairs_as_this_project_has_them(evaluated_models, folder, name):
    evaluated = evaluated_models["gemma" if name == "ensemble" else name]
    if name == "ensemble":
        model = Ensemble([evaluated.model, evaluated.model], view=evaluated.view)
        evaluated = replace(evaluated, model=model)
    own = Blimp(path=str(folder / "pairs.jsonl"), pairs=None)
    expected = own.result(dict(own.records(evaluated, own.prepare()))).figures["accuracy"]
    result, records = run(harness(folder, "tiny_pairs"), evaluated)
    assert 0 < expected.value < 1
    found = result.figures["tiny_pairs acc"]
    assert found.stderr == pytest.approx(expected.stderr)
    assert replace(found, stderr=None) == replace(expected, stderr=None)
    record = records["tiny_pairs"]
    assert (record["task_version"], record["lm_eval"]) == ("1.5", version("lm-eval"))


def test_a_task_that_has_changed_is_another_one(folder):
    def basis(**changes):
        suite = harness(folder, "tiny_pairs", "tiny_text", **changes)
        suite.prepare()
        return suite.basis("any", None)

    path = folder / "tasks" / "functions.py"
    path.write_text("def texts(doc):\n    return doc['question']\n", "utf-8")
    task = folder / "tasks" / "tiny_text.yaml"
    text = task.read_text("utf-8").replace('"{{question}}"', "!function functions.texts")
    task.write_text(text, "utf-8")
    first = basis()
    assert first["lm_eval"] == version("lm-eval")
    assert basis() == first
    kept, changed = (first["definitions"][name] for name in ("tiny_pairs", "tiny_text"))

    def now_differs(before):
        found = basis()["definitions"]
        assert found["tiny_pairs"] == kept
        assert found["tiny_text"] != before
        return found["tiny_text"]

    task.write_text(text.replace("version: 1", "version: 1.1"), "utf-8")
    changed = now_differs(changed)
    rows = [{**row, "question": row["question"] + "!"} for row in QUESTIONS]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "questions.jsonl").write_text(lines, "utf-8")
    changed = now_differs(changed)
    path.write_text("def texts(doc):\n    return doc['question'].upper()\n", "utf-8")
    now_differs(changed)


def test_several_tasks_and_a_limit(evaluated_models, folder):
    suite = harness(folder, "tiny_pairs", "tiny_text", limit=2)
    assert suite.prepare() == ["tiny_pairs", "tiny_text"]
    result, records = run(suite, evaluated_models["gemma"])
    assert list(result.figures) == ["tiny_pairs acc", "tiny_text bits_per_byte"]
    assert [record["count"] for record in records.values()] == [2, 2]
    found = result.figures["tiny_text bits_per_byte"]
    texts = [row["question"] for row in QUESTIONS[:2]]
    from tests.unit.evaluation.suites.test_blimp import sentence_nats

    nats = -sum(sentence_nats(evaluated_models["gemma"], text) for text in texts)
    assert found.value == pytest.approx(nats / math.log(2) / sum(map(len, texts)), abs=1e-5)
    assert (found.unit, found.lower_is_better) == ("bits/byte", True)


def test_a_group_is_its_members_by_size(evaluated_models, folder, monkeypatch):
    # members are looked for among lm-eval's own tasks as well, which takes half a minute
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder / "tasks"), include_defaults=False)
    monkeypatch.setattr(lm_eval_tasks, "_manager", lambda *_: manager)
    suite = harness(folder, "tiny_group", "tiny_answers")
    assert suite.prepare() == ["tiny_pairs", "tiny_pairs_again", "tiny_answers"]
    result, _ = run(suite, evaluated_models["gemma"])
    assert list(result.figures) == ["tiny_group acc", "tiny_answers exact_match"]
    members = result.groups["tiny_group"]
    values = [members[name]["acc"].value for name in ("tiny_pairs", "tiny_pairs_again")]
    found = result.figures["tiny_group acc"]
    assert found.value == pytest.approx((5 * values[0] + 2 * values[1]) / 7)
    assert (found.count, found.unit, found.lower_is_better) == (7, "accuracy", False)
    assert found.stderr is not None
    json.dumps(as_plain(result), allow_nan=False)


def test_a_group_without_a_figure_of_its_own_is_its_members(evaluated_models, folder, monkeypatch):
    from lm_eval.tasks import TaskManager

    listed = "group: tiny_list\ntask: [tiny_pairs, tiny_answers]\n"
    (folder / "tasks" / "list.yaml").write_text(listed, "utf-8")
    manager = TaskManager(include_path=str(folder / "tasks"), include_defaults=False)
    monkeypatch.setattr(lm_eval_tasks, "_manager", lambda *_: manager)
    result, _ = run(harness(folder, "tiny_list"), evaluated_models["gemma"])
    assert list(result.figures) == ["tiny_pairs acc", "tiny_answers exact_match"]
    assert list(result.groups["tiny_list"]) == ["tiny_pairs", "tiny_answers"]


def test_a_request_that_is_repeated_is_sampled_anew(evaluated_models, folder):
    """As tasks with `repeats` ask for it, whose figures are of several answers to a question."""
    model = LmEvalModel(
        replace(evaluated_models["gemma"], stop_ids=()),
        chat=False,
        max_length=None,
        writing=Writing(5, 0),
        batch_size=2,
    )
    settings = {"until": [], "max_gen_toks": 8, "temperature": 2.0, "do_sample": True}
    requests = [SimpleNamespace(args=("Which is first?", settings)) for _ in range(6)]
    assert len(set(model.generate_until(requests))) == 6


def test_written_answers(evaluated_models, folder, caplog):
    result, _ = run(harness(folder, "tiny_answers", num_fewshot=1), evaluated_models["bytes"])
    assert result.figures["tiny_answers exact_match"].count == 3
    sample = result.samples[0]
    assert sample["prompt"].count("Q: ") == 2
    assert sample["prompt"].endswith("Q: Which is first?\nA:")
    assert sample["reference"] == "A"
    assert "\n" not in sample["answer"]
    # four tokens of the task are twenty bytes
    assert max(len(each["answer"]) for each in result.samples) <= 20
    again, _ = run(harness(folder, "tiny_answers", num_fewshot=1), evaluated_models["bytes"])
    assert as_plain(again) == as_plain(result)
    shorter = {"max_gen_toks": 1, "until": ["never"]}
    cut, _ = run(harness(folder, "tiny_answers", gen_kwargs=shorter), evaluated_models["gemma"])
    assert "Q: Which is last?" not in cut.samples[0]["prompt"]
    longest = max(evaluated_models["gemma"].view.byte_lengths)
    assert all(len(each["answer"].encode()) <= longest * 3 for each in cut.samples)


def test_examples_do_not_depend_on_what_was_run_before(evaluated_models, folder):
    suite = harness(folder, "tiny_answers", num_fewshot=1)
    first, _ = run(suite, evaluated_models["gemma"])
    second = suite.result(dict(suite.records(evaluated_models["gemma"], ["tiny_answers"])))
    assert second.samples == first.samples


def test_prompts_in_a_chat(evaluated_models, folder):
    suite = harness(folder, "tiny_answers", "tiny_pairs", chat=True, num_fewshot=1)
    result, _ = run(suite, evaluated_models["gemma"])
    prompt = result.samples[0]["prompt"]
    assert prompt.startswith("<bos><start_of_turn>user\nQ: ")
    assert prompt.endswith("Q: Which is first?\nA:<end_of_turn>\n<start_of_turn>model\n")
    assert prompt.count("<start_of_turn>model") == 2
    assert "tiny_pairs acc" in result.figures


def test_a_file_and_a_pattern_are_names_as_well(folder, monkeypatch):
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder / "tasks"), include_defaults=False)
    monkeypatch.setattr(lm_eval_tasks, "_manager", lambda *_: manager)
    path = str(folder / "tasks" / "tiny_text.yaml")
    assert harness(folder, path).prepare() == ["tiny_text"]
    assert harness(folder, "tiny_pairs*").prepare() == ["tiny_pairs", "tiny_pairs_again"]


def test_a_task_that_does_not_exist(folder, monkeypatch):
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder / "tasks"), include_defaults=False)
    monkeypatch.setattr(lm_eval_tasks, "_manager", lambda *_: manager)
    with pytest.raises(ValueError, match=r"'tiny_pear'.*Close to it: tiny_pairs.*valid YAML"):
        harness(folder, "tiny_pear").prepare()
    with pytest.raises(ValueError, match=r"include_path=FOLDER"):
        harness(folder, "tiny_pear", include_path=None).prepare()
    with pytest.raises(FileNotFoundError, match="no such folder"):
        harness(folder, "tiny_pairs", include_path=str(folder / "none")).prepare()


def test_data_that_can_not_be_had(folder):
    (folder / "questions.jsonl").unlink()
    with pytest.raises(ValueError, match=r"\['tiny_text'\] .*can't be loaded: .*data_files"):
        harness(folder, "tiny_text").prepare()


def test_a_missing_package_is_named(folder, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'alm-lightning\[eval\]'"):
        harness(folder, "tiny_pairs").prepare()


@pytest.mark.parametrize("changes", [{"limit": 0}, {"num_fewshot": -1}, {"max_length": 1}])
def test_settings_that_make_no_sense(folder, changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        harness(folder, "tiny_pairs", **changes)
    with pytest.raises(ValueError, match="tasks is empty"):
        harness(folder)
