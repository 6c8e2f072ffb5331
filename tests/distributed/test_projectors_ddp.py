"""Two processes (gloo, CPU) train what an objective has of its own as one process does."""

import csv

import pytest
import torch

pytestmark = pytest.mark.distributed

DSKD = (
    "{_target_: alm_lightning.objectives.baselines.dskd.DSKD, temperature: 2, learning_rate: 1e-3}"
)


def test_two_processes_equal_one(run_apart, tmp_path):
    curves, projectors = [], []
    for devices in (1, 2):
        folder = tmp_path / f"on_{devices}"
        finished = run_apart(
            "objective=alm_next_token",
            f"+objective.dskd={DSKD}",
            "trainer.precision=32-true",
            f"trainer.devices={devices}",
            "trainer.strategy=ddp" if devices > 1 else "trainer.strategy=auto",
            "budget.batch_size=4",
            "budget.micro_batch_size=1",
            "budget.steps=4",
            "sample_prompts=0",
            f"hydra.run.dir={folder}",
            cwd=tmp_path,
        )
        assert finished.returncode == 0, finished.stderr
        with (folder / "metrics.csv").open(encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["train/dskd"]]
        curves.append([float(row["train/dskd"]) for row in rows])
        state = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        projectors.append({n: v for n, v in state.items() if n.startswith("objective.dskd.")})
    assert len(curves[0]) == 4
    assert curves[1] == pytest.approx(curves[0], rel=1e-4)
    one, two = projectors
    assert one.keys() == two.keys()
    assert len(one) == 6
    for name, value in one.items():
        # Adam's steps are 1e-3 long
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-4)
