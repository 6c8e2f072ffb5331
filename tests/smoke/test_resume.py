"""A run that was cut off continues as if nothing had happened."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.runs import REPOSITORY

pytestmark = pytest.mark.slow

STEPS = 8
OVERRIDES = [
    f"budget.steps={STEPS}",
    "budget.checkpoint_every=1",
    "budget.batch_size=2",
    "budget.learning_rate=1e-3",
    "sample_prompts=0",
    "balance=gradnorm",  # the balance with a state of its own
    "trainer.precision=32-true",
]


def losses(folder: Path) -> dict[int, tuple[str, ...]]:
    """The loss curve of a run, to the last digit, by step."""
    columns = ("train/alm", "train/next_token", "train/hidden_states", "train/balance_alm")
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("train/alm")]
    return {int(row["step"]): tuple(row[column] for column in columns) for row in rows}


@pytest.fixture(scope="module")
def unbroken(run_apart, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    finished = run_apart(*OVERRIDES, f"hydra.run.dir={folder}", cwd=folder.parent)
    assert finished.returncode == 0, finished.stderr
    curve = losses(folder)
    assert sorted(curve) == list(range(STEPS))
    assert len(set(curve.values())) == STEPS
    return folder, curve


def interrupted(tiny, folder: Path, number: int, at_step: int) -> int:
    """Starts a run, sends it a signal once a step is done, and gives its exit code."""
    process = subprocess.Popen(
        [
            sys.executable,
            str(REPOSITORY / "train.py"),
            *tiny,
            *OVERRIDES,
            f"hydra.run.dir={folder}",
        ],
        cwd=folder.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not any(
        int(path.stem.rpartition("_")[2]) >= at_step
        for path in (folder / "checkpoints").glob("step_*.ckpt")
    ):
        assert process.poll() is None, "the run ended before it was interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    return process.wait(timeout=120)


@pytest.mark.parametrize("at_step", [2, 4])
def test_kill_nine(tiny, run_apart, unbroken, tmp_path, at_step):
    _, curve = unbroken
    code = interrupted(tiny, tmp_path / "killed", signal.SIGKILL, at_step)
    assert code == -signal.SIGKILL
    checkpoint = tmp_path / "killed/checkpoints/last.ckpt"
    if not checkpoint.exists():
        # killed while Lightning put a new link in place of the old one
        checkpoint = min((tmp_path / "killed/checkpoints").glob("step_*.ckpt"))
    resume_and_compare(run_apart, tmp_path, checkpoint, curve)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGINT])
def test_signals_save_first(tiny, run_apart, unbroken, tmp_path, number):
    _, curve = unbroken
    code = interrupted(tiny, tmp_path / "stopped", number, 2)
    assert code == 128 + number
    assert not (tmp_path / "stopped/summary.json").exists()
    resume_and_compare(run_apart, tmp_path, tmp_path / "stopped/checkpoints/stopped.ckpt", curve)


def resume_and_compare(run_apart, tmp_path, checkpoint, curve) -> None:
    resumed = tmp_path / "resumed"
    overrides = [f"ckpt_path={checkpoint}", f"hydra.run.dir={resumed}"]
    finished = run_apart(*OVERRIDES, *overrides, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    remaining = losses(resumed)
    assert 0 < len(remaining) < STEPS
    assert max(remaining) == STEPS - 1
    assert remaining == {step: curve[step] for step in remaining}
    summary = json.loads((resumed / "summary.json").read_text(encoding="utf-8"))
    assert (summary["steps"], summary["seconds"]["timed_steps"]) == (STEPS, len(remaining))
    assert f"{STEPS} steps, {len(remaining)} of them here" in finished.stdout


def test_another_seed_is_refused(unbroken, run_apart, tmp_path):
    folder, _ = unbroken
    finished = run_apart(
        *OVERRIDES,
        f"ckpt_path={folder}/checkpoints/last.ckpt",
        "seed=1",
        f"hydra.run.dir={tmp_path}/other",
        cwd=tmp_path,
    )
    assert finished.returncode != 0
    assert "seed: 0 then, 1 now" in finished.stderr
    assert "Give the settings of the run that was stopped" in finished.stderr
    assert not (tmp_path / "other/model").exists()


def test_the_checkpoint_holds_what_is_trained_and_nothing_else(unbroken):
    import torch

    folder, _ = unbroken
    checkpoint = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    names = list(checkpoint["state_dict"])
    assert not [name for name in names if "teacher" in name]
    assert not [name for name in names if "expansion.embedding" in name]
    assert any(name.startswith("student.model.body") for name in names)
    assert any(name.startswith("balance.") for name in names)
    assert checkpoint["config"]["name"] == "tiny-gemma_to_bytes"
