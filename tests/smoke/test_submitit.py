"""A sweep through Hydra's submitit launcher: its runs are processes, as jobs of SLURM are."""

import json

import pytest

pytestmark = pytest.mark.slow


def test_two_runs_at_a_time(run_apart, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="the extra cluster")
    finished = run_apart(
        *("seed=0,1", "budget.steps=1", "sample_prompts=0", "hydra/launcher=submitit_local"),
        f"hydra.sweep.dir={tmp_path}/sweep",
        cwd=tmp_path,
        flags=("-m",),
    )
    assert finished.returncode == 0, finished.stderr
    # one table of both, as of any sweep
    assert "seed=0" in finished.stdout
    assert "seed=1" in finished.stdout
    summaries = [
        json.loads((tmp_path / "sweep" / run / "summary.json").read_text(encoding="utf-8"))
        for run in ("0", "1")
    ]
    assert [summary["seed"] for summary in summaries] == [0, 1]
    assert all((tmp_path / "sweep" / run / "model").is_dir() for run in ("0", "1"))
    # what submitit keeps of its jobs
    assert (tmp_path / "sweep/.submitit").is_dir()
