"""Folders as a run and an evaluation leave them."""

import json

import pytest

HOSTILE = "</style><script>alert(1)</script> <!-- &amp; \"q\" 'a' $title ${x} </bdi>"
METRICS = """\
epoch,speed/seconds_per_step,step,train/alm,train/balance_alm,train/loss,train/lr,val/heldout/bits_per_byte_student,val/heldout/bits_per_byte_teacher,val/heldout/chunk_difference,train/never
0,,0,,,,,2.5,1.25,3.0,
0,1.5,0,0.5,1.0,0.5,1e-05,,,,
0,1.25,1,nan,1.0,nan,2e-05,,,,
0,1.0,2,0.25,1.0,0.25,1e-05,,,,
1,,3,,,,,1.5,1.25,1.0,
"""
SUMMARY = {
    "experiment": "a_to_b",
    "overrides": ["experiment=a_to_b", "seed=7"],
    "seed": 7,
    "steps": 3,
    "seconds": {"total": 12.0, "train": 3.75, "timed_steps": 3, "per_step": 1.25},
    "bits_per_byte": {"teacher": 1.25, "student_before": 2.5, "student_after": 1.5},
    "bits_per_byte_other": {"teacher": 1.0, "student_before": 2.0, "student_after": 2.5},
    "chunk_difference": {
        "before": 3.0,
        "after": 1.0,
        "before_other": 2.0,
        "after_other": 2.0,
    },
    "chunks": {
        "coverage": 0.995,
        "count": 1234,
        "bytes_per_chunk": 4.5,
        "student_tokens_per_chunk": 4.5,
        "teacher_tokens_per_chunk": 1.0,
    },
    "peak_memory_bytes": 2**31,
    "versions": {"torch": "2.13.0"},
    "samples": [
        {
            "document": HOSTILE,
            "prompt": "Once",
            "text": " upon a time",
            "teacher": " there was",
            "student": HOSTILE,
        }
    ],
}


def figure(value, stderr=None, unit="accuracy", *, count=10, lower=None):
    return {
        "value": value,
        "stderr": stderr,
        "count": count,
        "unit": unit,
        "lower_is_better": lower,
    }


def write_result(folder, model, harness, figures, groups=None, samples=(), **more):
    path = folder / model / harness / "result.json"
    path.parent.mkdir(parents=True)
    result = {
        "model": model,
        "harness": harness,
        "described": f"where {model} is",
        "figures": figures,
        "groups": groups or {},
        "samples": list(samples),
        "settings": {"harness": {"source": {"group_column": "lang"}}},
        "seed": 0,
        "versions": {"torch": "2.13.0"},
    } | more
    path.write_text(json.dumps(result), "utf-8")
    return result


@pytest.fixture
def run(tmp_path):
    """The folder of a run."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps(SUMMARY), "utf-8")
    (folder / "metrics.csv").write_text(METRICS, "utf-8")
    (folder / "hparams.yaml").write_text(
        "student: {name: org/small}\nteacher: {name: org/large}\ntokenizer: {name: '${x}'}\n"
        "note: <b>bold</b>\n",
        "utf-8",
    )
    return folder


@pytest.fixture
def evaluation(tmp_path):
    """The folder of an evaluation: two models, four harnesses, one model with a slash."""
    folder = tmp_path / "evaluation"
    results = []
    for place, model in enumerate(("org/large", "before")):
        results.append(
            write_result(
                folder,
                model,
                "blimp",
                {"accuracy": figure(0.75 - 0.125 * place, 0.01, count=6700, lower=False)},
                {
                    "phenomenon": {
                        name: {"accuracy": figure(value - 0.125 * place, 0.05, lower=False)}
                        for name, value in (("low_one", 0.25), ("high_one", 1.0), ("mid", 0.625))
                    }
                },
            )
        )
        results.append(
            write_result(
                folder,
                model,
                "bits_per_byte",
                {"bits_per_byte": figure(1.5, 0.25, "bits/byte", lower=True)},
                {
                    "group": {
                        "de-DE": {"bits_per_byte": figure(1.0, None, "bits/byte", lower=True)},
                        "fa-IR": {"bits_per_byte": figure(2.0, 0.5, "bits/byte", lower=True)},
                    }
                },
            )
        )
    chunks = [
        {"text": "The", "student": -3.0, "teacher": -0.5},
        {"text": " end\n", "student": -1.0, "teacher": -1.0},
        {"text": HOSTILE, "student": -0.25, "teacher": -2.0},
    ]
    results.append(
        write_result(
            folder,
            "before",
            "compare",
            {"chunk_difference": figure(0.5, 0.125, "nats", lower=True)},
            {
                "chunk_bytes": {
                    "1": {"share": figure(0.25, None, "share", count=1)},
                    "3": {"share": figure(0.5, None, "share", count=2)},
                    "31": {"share": figure(0.25, None, "share", count=1)},
                }
            },
            [{"document": "held.jsonl:3", "chunks": chunks}],
        )
    )
    results.append(
        write_result(
            folder,
            "before",
            "gsm8k",
            {"exact_match": figure(0.5, 0.5, count=2)},
            samples=[{"question": "1 + 1?", "answer": "2", "right": True}],
        )
    )
    (folder / "results.json").write_text(json.dumps(results), "utf-8")
    return folder
