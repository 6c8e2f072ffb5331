"""lm-eval's tasks on our models: a local BLiMP has the accuracy of our own harness."""

import json

import pytest

from alm_lightning.evaluation.blimp import Blimp
from alm_lightning.evaluation.lm_eval_harness import LmEval
from alm_lightning.evaluation.lm_eval_tasks import find_tasks

pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install 'alm-lightning[eval]'")
pytestmark = pytest.mark.filterwarnings("ignore")

PAIRS = [
    ("The quick fox jumps.", "The quick fox jump."),
    ("A statement is executed.", "A statement are executed."),
    ("It costs 12.", "It cost 12."),
    ("Who is it?", "Who is it that?"),
    ("Dog bites man.", "man bites Dog."),
    ("The value is discarded.", "The value discard are."),
    ("She sees herself.", "She sees himself."),
]
TASK = """\
task: our_blimp
dataset_path: json
dataset_kwargs: {{data_files: {{train: {path}}}}}
validation_split: train
output_type: multiple_choice
doc_to_text: ""
doc_to_target: 0
doc_to_choice: "{{{{[sentence_good, sentence_bad]}}}}"
num_fewshot: 0
target_delimiter: ""
metric_list:
  - metric: acc
"""


@pytest.fixture
def task(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"UID": "all", "linguistics_term": "all", "sentence_good": good, "sentence_bad": bad}
        for good, bad in PAIRS
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "our_blimp.yaml").write_text(TASK.format(path=path), "utf-8")
    return path


def suite(tasks, include_path=None, **changes):
    settings = {
        "num_fewshot": None,
        "limit": None,
        "chat": False,
        "fewshot_as_multiturn": True,
        "max_length": None,
        "batch_size": 2,
        "gen_kwargs": {},
        "bytes_per_token": 5,
        "bootstrap_iters": 10,
        "seed": 0,
    }
    given = None if include_path is None else str(include_path)
    return LmEval(tasks=tasks, include_path=given, **(settings | changes))


@pytest.mark.parametrize("name", ["bytes", "gemma"])
def test_a_local_blimp_has_the_accuracy_of_our_own(subjects, task, name, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    subject = subjects[name]
    own = Blimp(path=str(task), pairs=None)
    expected = own.result(dict(own.records(subject, own.prepare()))).figures["accuracy"]
    harness = suite(["our_blimp"], task.parent / "tasks")
    assert harness.prepare() == ["our_blimp"]
    found = harness.result(dict(harness.records(subject, ["our_blimp"]))).figures["our_blimp acc"]
    assert found.value == pytest.approx(expected.value)
    assert found.stderr == pytest.approx(expected.stderr, rel=1e-6)
    assert found.count == len(PAIRS)
    assert 0 < found.value < 1


def test_a_task_that_does_not_exist_is_told_with_those_close_to_it(task):
    with pytest.raises(ValueError, match=r"'our_blmp', which is no task.*our_blimp.*YAML"):
        find_tasks(["our_blmp"], task.parent / "tasks")


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"limit": 0}, "limit"), ({"num_fewshot": -1}, "num_fewshot"), ({"max_length": 1}, "max_len")],
)
def test_settings_that_make_no_sense_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        suite(["any"], **changes)
