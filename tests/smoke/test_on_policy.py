"""Runs whose batches are in part what the student has said itself."""

import csv
import json

import pytest

# whole runs
pytestmark = pytest.mark.slow

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


def curve(folder):
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = ("train/alm", "train/teacher_tokens", "on_policy/tokens", "on_policy/ended")
    return {int(row["step"]): tuple(row[n] for n in names) for row in rows if row["train/alm"]}


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_run_goes_on_with_the_same_answers(run_here, tmp_path):
    own = [
        *OWN,
        "on_policy.begins=0",
        "on_policy.every=3",
        "budget.checkpoint_every=1",
        "callbacks.checkpoint.save_top_k=-1",
    ]
    own += ["objective=alm", "objective.alm.threshold=0.01", "trainer.precision=32-true"]
    run_here(*own, f"paths.output_dir={tmp_path / 'whole'}")
    checkpoint = tmp_path / "whole/checkpoints/step_2.ckpt"
    assert checkpoint.is_file(), list((tmp_path / "whole/checkpoints").iterdir())
    run_here(*own, f"ckpt_path={checkpoint}", f"paths.output_dir={tmp_path / 'rest'}")
    whole, rest = curve(tmp_path / "whole"), curve(tmp_path / "rest")
    assert sorted(whole) == [0, 1, 2, 3]
    assert rest == {step: whole[step] for step in (2, 3)}
    with pytest.raises(ValueError, match=r"on_policy.share: 0.5 then, 0.25 now"):
        run_here(
            *own,
            "on_policy.share=0.25",
            f"ckpt_path={checkpoint}",
            f"paths.output_dir={tmp_path / 'other'}",
        )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["objective=next_token"], "no term of the objective"),
        (["objective=policy_gradient", "on_policy=none"], "Take on_policy=half"),
        (["objective=policy_gradient"], r"on_policy\.begins is 0\.5"),
        (
            ["objective=policy_gradient", "on_policy.begins=0", "balance=gradnorm"],
            "is no distance",
        ),
        (["on_policy.begins=0.9"], "none comes after it"),
        (["windows=stream"], "documents are streamed"),
        (["on_policy.share=2"], r"on_policy\.share is 2: expected a share in \[0, 1\]"),
        (["on_policy/engine=vllm", "trainer.accelerator=cpu"], "samples on a CUDA device"),
        (["on_policy=none", "on_policy/engine=vllm"], r"on_policy\.share is 0: there is nothing"),
        (["on_policy.max_new_tokens=90"], "none gives a prompt of at most 4 student tokens"),
    ],
)
def test_what_has_no_answers_is_refused(run_here, changes, says):
    with pytest.raises(Exception, match=says):
        run_here(*OWN, *changes, without=("objective.alm.threshold",))


def test_the_policy_gradient_learns_from_answers_alone(run_here, tmp_path):
    run_here(
        *OWN,
        "on_policy.begins=0",
        "on_policy.share=1",
        "objective=policy_gradient",
        without=("objective.alm.threshold",),
    )
    assert logged(tmp_path) == [4.0] * 4
