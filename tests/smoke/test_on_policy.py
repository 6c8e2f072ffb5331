"""Runs whose batches are in part what the student has said itself."""

import csv
import json

import pytest

CHATS = [
    {
        "messages": [
            {"role": "user", "content": f"What is {number} plus {number}?"},
            {"role": "assistant", "content": f"It is {2 * number}."},
        ]
    }
    for number in range(24)
]
OWN = ["on_policy=half", "on_policy.max_new_tokens=12", "on_policy.every=2", "budget.steps=4"]


def logged(folder):
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [float(row["on_policy/answers"]) for row in rows if row.get("on_policy/answers")]


@pytest.mark.parametrize("objective", ["alm", "next_byte_hidden"])
def test_texts_are_continued(run_here, tmp_path, objective):
    changes = ["objective.alm.threshold=0.01"] if objective == "alm" else []
    summary = run_here(
        *OWN, f"objective={objective}", *changes, without=("objective.alm.threshold",)
    )
    # half of the steps come before the first answer, and then half of 4 sequences are answers
    assert logged(tmp_path) == [2.0, 2.0]
    assert summary["steps"] == 4


def test_chats_are_answered(run_here, tmp_path):
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(map(json.dumps, CHATS)), encoding="utf-8")
    run_here(
        *OWN,
        "on_policy.begins=0",
        "corpus=messages",
        f"corpus.source.path={path}",
        "objective=alm",
        "objective.alm.threshold=0.01",
        "objective.alm.divergence=reverse_kl",
        f"paths.output_dir={tmp_path / 'run'}",
        without=("corpus.source.path",),
    )
    assert logged(tmp_path / "run") == [2.0] * 4
