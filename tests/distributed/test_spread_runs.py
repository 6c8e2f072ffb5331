"""Whole runs with spread weights: figures, export, and a run that goes on with other processes."""

import csv
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file
from tests.runs import REPOSITORY

pytestmark = pytest.mark.distributed

STEPS = 6
OVERRIDES = [
    f"budget.steps={STEPS}",
    "budget.checkpoint_every=2",
    "budget.batch_size=6",
    "budget.micro_batch_size=1",
    "budget.learning_rate=1e-3",
    "trainer.precision=32-true",
    "export_dtype=float32",
    "balance=gradnorm",  # the balance with a state of its own
]
SPREAD = ["trainer=fsdp", "trainer.accelerator=cpu"]
KEPT = "callbacks.checkpoint.save_top_k=-1"


def figures(folder):
    """What was logged but for times, by step, with the figures of validations."""
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {
        (int(row["step"]), bool(row["train/loss"])): {
            name: float(value)
            for name, value in row.items()
            if value and not name.startswith(("speed/", "step", "epoch"))
        }
        for row in rows
    }


def same(folder, whole, *, num_steps):
    """As the unbroken run on one process: what was logged of the last steps, and the export."""
    expected, found = figures(whole), figures(folder)
    trained = [key for key in found if key[1]]
    assert trained == [(step, True) for step in range(STEPS - num_steps, STEPS)]
    for key in [*trained, (STEPS, False)]:
        assert found[key] == pytest.approx(expected[key], rel=1e-5), key
    weights = load_file(folder / "model/model.safetensors")
    for name, tensor in load_file(whole / "model/model.safetensors").items():
        torch.testing.assert_close(weights[name], tensor, rtol=0, atol=1e-5, msg=name)


@pytest.fixture(scope="module")
def run(run_apart):
    def run(folder, *overrides):
        said = [*overrides, f"hydra.run.dir={folder}"]
        finished = run_apart(*OVERRIDES, *said, cwd=folder.parent, without=("trainer",))
        assert finished.returncode == 0, finished.stderr
        return finished

    return run


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    """On one process."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(folder, "trainer=cpu", KEPT, "sample_prompts=0")
    return folder


@pytest.fixture(scope="module")
def spread(run, tmp_path_factory):
    """On two."""
    folder = tmp_path_factory.mktemp("spread") / "run"
    finished = run(folder, *SPREAD, "trainer.devices=2", KEPT)
    return folder, finished.stdout


def test_two_processes_equal_one(whole, spread):
    folder, shown = spread
    same(folder, whole, num_steps=STEPS)
    # samples, which both models write on the first process
    assert "teacher" in shown.split("prompt")[-1]
    assert (folder / "checkpoints/last.ckpt/meta.pt").is_file()


@pytest.mark.parametrize(
    "processes",
    [
        [*SPREAD, "trainer.devices=3"],
        ["trainer=cpu"],
        ["trainer=cpu", "trainer.devices=2", "trainer.strategy=ddp"],
    ],
    ids=["spread over three", "one", "ddp"],
)
def test_goes_on_with_other_processes(run, whole, spread, tmp_path, processes):
    checkpoint = f"ckpt_path={spread[0]}/checkpoints/step_2.ckpt"
    run(tmp_path / "resumed", *processes, checkpoint, "sample_prompts=0")
    same(tmp_path / "resumed", whole, num_steps=STEPS - 2)


def test_goes_on_from_the_file_of_one_process(run, whole, tmp_path):
    checkpoint = f"ckpt_path={whole}/checkpoints/step_2.ckpt"
    run(tmp_path / "resumed", *SPREAD, "trainer.devices=2", checkpoint, "sample_prompts=0")
    same(tmp_path / "resumed", whole, num_steps=STEPS - 2)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_ended_by_a_signal(tiny, run, whole, tmp_path, number):
    said = [each for each in tiny if not each.startswith("trainer=")]
    folder = tmp_path / "stopped"
    process = subprocess.Popen(
        [
            *(sys.executable, str(REPOSITORY / "train.py"), *said, *OVERRIDES, *SPREAD),
            *("trainer.devices=2", "sample_prompts=0", f"hydra.run.dir={folder}"),
        ],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not list((folder / "checkpoints").glob("step_*.ckpt")):
        assert process.poll() is None, "the run ended before it was interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    # the second process too dies by a kill; of a signal that can be caught it hears from the first
    os.killpg(process.pid, number) if number == signal.SIGKILL else process.send_signal(number)
    code = process.wait(timeout=120)
    if number == signal.SIGKILL:
        # the newest may be going where an older one comes: whole or not there
        checkpoint = max((folder / "checkpoints").glob("step_*.ckpt"))
    else:
        assert code == 128 + number
        checkpoint = folder / "checkpoints/stopped.ckpt"
    run(
        *(tmp_path / "resumed", *SPREAD, "trainer.devices=3"),
        *(f"ckpt_path={checkpoint}", "sample_prompts=0"),
    )
    done = min(step for step, is_trained in figures(tmp_path / "resumed") if is_trained)
    assert 0 < done < STEPS
    same(tmp_path / "resumed", whole, num_steps=STEPS - done)
