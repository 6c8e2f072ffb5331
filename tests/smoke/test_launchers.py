"""Sweeps through Hydra's launchers for one machine: their runs are processes, side by side."""

import json

import pytest

pytestmark = pytest.mark.slow

LAUNCHERS = {
    "joblib": ("hydra.launcher.n_jobs=2",),
    # a cluster of two processors on this machine
    "ray": (
        "+hydra.launcher.ray.init.num_cpus=2",
        "+hydra.launcher.ray.init.include_dashboard=false",
    ),
}


@pytest.mark.parametrize("launcher", [*LAUNCHERS])
def test_a_failed_run_costs_the_one_beside_it_nothing(run_apart, tmp_path, launcher):
    pytest.importorskip(f"hydra_plugins.hydra_{launcher}_launcher")
    finished = run_apart(
        *("objective.alm.temperature=-1,5", "budget.steps=1", "sample_prompts=0"),
        *(f"hydra/launcher={launcher}", *LAUNCHERS[launcher], f"hydra.sweep.dir={tmp_path}/sweep"),
        cwd=tmp_path,
        flags=("-m",),
    )
    assert finished.returncode == 1
    assert "temperature" in finished.stderr
    rows = json.loads((tmp_path / "sweep/sweep.json").read_text(encoding="utf-8"))
    assert [row["overrides"].rpartition("=")[2] for row in rows] == ["-1", "5"]
    assert "temperature" in rows[0]["failed"]
    assert rows[1]["failed"] == ""
    assert rows[1]["bpb after"] > 0
    assert (tmp_path / "sweep/1/model").is_dir()
