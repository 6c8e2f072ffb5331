"""``python train.py`` as a person calls it: what it prints, what it leaves, what it refuses."""

import csv
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SUMMARY_KEYS = {
    "experiment": None,
    "seed": None,
    "steps": None,
    "seconds": {"total", "train", "timed_steps", "per_step", "waiting_for_data"},
    "bits_per_byte": {"teacher", "student_before", "student_after"},
    "bits_per_byte_other": {"teacher", "student_before", "student_after"},
    "chunk_difference": {"before", "after"},
    "chunks": {
        "coverage",
        "outside_bytes",
        "count",
        "student_tokens_per_chunk",
        "teacher_tokens_per_chunk",
    },
    "peak_memory_bytes": None,
    "model_path": None,
    "versions": None,
}
"""The names that design.md promises ("What a run leaves")."""

LOAD_AND_WRITE = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer

assert not any(name.startswith("alm_lightning") for name in sys.modules)
folder = sys.argv[1]
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
inputs = tokenizer(["The quick", "It"], return_tensors="pt", padding=True)
output = model.generate(**inputs, max_new_tokens=5, do_sample=False)
assert output.shape[1] == inputs.input_ids.shape[1] + 5
assert tokenizer.decode(output[0], skip_special_tokens=True).startswith("The quick")
try:
    import alm_lightning
except ImportError:
    print("no project")
"""


@pytest.fixture(scope="module")
def finished(run_apart, tmp_path_factory):
    """One run, with all defaults that a tiny one can have."""
    home = tmp_path_factory.mktemp("run")
    process = run_apart(cwd=home)
    assert process.returncode == 0, process.stderr
    return home, process


def test_the_last_line_is_the_path_of_the_summary(finished):
    home, process = finished
    last = process.stdout.splitlines()[-1]
    path = Path(last)
    assert path.is_absolute()
    assert path.name == "summary.json"
    assert path.is_relative_to(home / "outputs" / "tiny-gemma_to_bytes")


def test_the_summary_has_what_was_promised(finished):
    _, process = finished
    summary = json.loads(Path(process.stdout.splitlines()[-1]).read_text(encoding="utf-8"))
    assert summary.keys() >= SUMMARY_KEYS.keys()
    for name, inner in SUMMARY_KEYS.items():
        assert inner is None or summary[name].keys() >= inner
    assert (summary["experiment"], summary["seed"], summary["steps"]) == (
        "tiny-gemma_to_bytes",
        0,
        3,
    )
    assert summary["chunks"]["coverage"] == 1.0
    assert 0 < summary["seconds"]["train"] < summary["seconds"]["total"]
    # an untrained student over bytes is near uniform, and both sides were measured on one text
    assert 7 < summary["bits_per_byte"]["student_before"] < 12
    assert summary["versions"].keys() >= {"python", "torch", "lightning", "transformers"}


def test_the_folder_has_what_was_promised(finished):
    _, process = finished
    folder = Path(process.stdout.splitlines()[-1]).parent
    made = {path.name for path in folder.iterdir()}
    assert made >= {".hydra", "checkpoints", "metrics.csv", "model", "summary.json"}
    assert {path.name for path in (folder / ".hydra").iterdir()} == {
        "config.yaml",
        "hydra.yaml",
        "overrides.yaml",
    }
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    grouped = {name.partition("/")[0] for name in rows[0]} - {"epoch", "step"}
    assert grouped == {"train", "val", "chunks", "speed"}
    assert [row["step"] for row in rows if row["train/loss"]] == ["0", "1", "2"]
    card = (folder / "model/README.md").read_text(encoding="utf-8")
    assert "## Figures" in card
    assert "objective.alm.temperature" in card


def test_the_table_and_a_continuation_are_printed(finished):
    _, process = finished
    for words in ("bits per byte: teacher", "student before", "student after", "bytes in chunks"):
        assert words in process.stdout
    assert "mean chunk length" in process.stdout
    assert {"prompt", "teacher", "student"} <= {
        line.split()[0] for line in process.stdout.splitlines() if line.strip()
    }


def test_the_exported_folder_needs_no_project(finished, tmp_path):
    _, process = finished
    model = Path(process.stdout.splitlines()[-1]).parent / "model"
    # -S leaves out site-packages' .pth files, and with them an editable install of this project
    packages = [path for path in sys.path if path.endswith("site-packages")]
    other = subprocess.run(
        [sys.executable, "-S", "-c", LOAD_AND_WRITE, str(model)],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(packages),
            "HF_MODULES_CACHE": str(tmp_path / "modules"),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert other.returncode == 0, other.stderr
    assert other.stdout.splitlines()[-1] == "no project"


def test_a_sweep_leaves_a_folder_a_run_and_one_table(run_apart, tmp_path):
    temperatures = "objective.alm.temperature=1,5,inf"
    process = run_apart(temperatures, "sample_prompts=0", flags=["-m"], cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    (sweep,) = (tmp_path / "multirun" / "tiny-gemma_to_bytes").iterdir()
    folders = sorted(path.name for path in sweep.iterdir() if path.is_dir())
    assert folders == ["0", "1", "2"]
    for name in folders:
        assert (sweep / name / "summary.json").is_file()
        assert (sweep / name / "model/config.json").is_file()
    lines = (sweep / "sweep.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2 + 3
    for line, temperature in zip(lines[2:], ("1", "5", "inf"), strict=True):
        assert f"objective.alm.temperature={temperature}" in line
    assert len(json.loads((sweep / "sweep.json").read_text(encoding="utf-8"))) == 3


def test_wandb_without_a_key_is_offline_and_never_asks(run_apart, tmp_path):
    hidden = ("WANDB_MODE", "WANDB_API_KEY")
    process = run_apart(
        "logger=wandb",
        "hydra.run.dir=run",
        cwd=tmp_path,
        HOME=str(tmp_path / "home"),
        # an empty value is none
        **dict.fromkeys(hidden, ""),
    )
    assert process.returncode == 0, process.stderr
    shown = process.stdout + process.stderr
    assert "logged offline" in shown
    assert "Enter your choice" not in shown
    (offline,) = (tmp_path / "run/wandb").glob("offline-run-*")
    assert list(offline.glob("*.wandb"))
    # the CSV is written all the same
    assert (tmp_path / "run/metrics.csv").is_file()


def fingerprint(folder):
    """Every file of a folder, by its content, and when it was last changed."""
    return {
        path.relative_to(folder).as_posix(): (
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None,
        )
        for path in sorted([folder, *folder.rglob("*")])
    }


def test_no_warning_reaches_the_user(finished):
    _, process = finished
    assert "Warning" not in process.stderr
    assert "site-packages" not in process.stderr


def test_an_output_folder_that_exists_is_left_as_it_was(finished, run_apart, tmp_path):
    _, process = finished
    folder = Path(process.stdout.splitlines()[-1]).parent
    before = fingerprint(folder)
    again = run_apart(f"hydra.run.dir={folder}", cwd=tmp_path)
    assert again.returncode != 0
    assert f"the output folder {folder} exists" in again.stderr
    assert "Give a new hydra.run.dir" in again.stderr
    assert fingerprint(folder) == before
    assert list(tmp_path.iterdir()) == []
