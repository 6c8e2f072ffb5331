"""A whole run whose objective has parameters of its own, stopped and continued."""

import csv

import pytest
import torch

# Lightning tells that the second run has a folder of its own
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:The dirpath has changed")]

STEPS = 4
OVERRIDES = [
    "objective=dskd",
    f"budget.steps={STEPS}",
    "budget.checkpoint_every=1",
    "budget.batch_size=2",
    "callbacks.checkpoint.save_top_k=-1",
    "budget.learning_rate=1e-3",
    "trainer.precision=32-true",
]


def losses(folder):
    """The loss curve, to the last digit, by step."""
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("train/dskd")]
    return {int(row["step"]): (row["train/dskd"], row["train/next_token"]) for row in rows}


def test_a_run_goes_on_with_its_projectors(run_here, tmp_path):
    def run(name, *overrides):
        folder = tmp_path / name
        run_here(
            *OVERRIDES,
            f"paths.output_dir={folder}",
            *overrides,
            without=("objective.alm.threshold",),
        )
        return folder

    unbroken = run("unbroken")
    curve = losses(unbroken)
    assert sorted(curve) == list(range(STEPS))
    (path,) = (unbroken / "checkpoints").glob("step_2.ckpt")
    saved = torch.load(path, weights_only=True)["state_dict"]
    projectors = {name for name in saved if name.startswith("objective.dskd.attention.")}
    assert len(projectors) == 6
    resumed = run("resumed", f"ckpt_path={path}")
    assert losses(resumed) == {step: curve[step] for step in range(2, STEPS)}
    # it would not be the same curve with other projectors
    (last,) = (unbroken / "checkpoints").glob("step_4.ckpt")
    later = torch.load(last, weights_only=True)["state_dict"]
    assert not any(torch.equal(saved[name], later[name]) for name in projectors)
    # the exported model has none of them
    assert (resumed / "model").is_dir()
