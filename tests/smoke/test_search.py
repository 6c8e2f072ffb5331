"""A search by Optuna: the study counts the runs, ends bad ones early, and goes on."""

import json

import pytest
import yaml

pytestmark = pytest.mark.slow

SEARCH = (
    *("sweep=search", "hydra.sweeper.n_trials=2", "budget.validate_every=1", "budget.steps=2"),
    *("budget.evaluation_windows=1", "sample_prompts=0"),
    # each rate is lower than the one before, and ends early: none is better than nearly none
    "callbacks.prune.pruner.n_startup_trials=1",
)


def test_a_search_goes_on_with_its_study(run_apart, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="the extra sweeps")
    folder = tmp_path / "multirun/tiny-gemma_to_bytes/search"
    for number_of_runs in (2, 4):
        finished = run_apart(*SEARCH, flags=["-m"], cwd=tmp_path)
        assert finished.returncode == 0, finished.stderr
        assert f"{number_of_runs} runs in" in finished.stdout
        rows = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
        assert {row["run"] for row in rows} == set(map(str, range(number_of_runs)))
        assert rows == sorted(rows, key=lambda row: row["bpb after"])
        assert all("search.trial" not in row["overrides"] for row in rows)
        best = yaml.safe_load((folder / "optimization_results.yaml").read_text("utf-8"))
        assert str(best["best_params"]["search.trial"]) == rows[0]["run"]
        assert best["best_value"] == pytest.approx(rows[0]["bpb after"])
    # a run that was worse after its first step made no second one
    for row in rows:
        summary = json.loads((folder / row["run"] / "summary.json").read_text(encoding="utf-8"))
        assert summary["steps"] == int(row.get("stopped at step") or 2)

    # other settings are another search
    refused = run_apart(*SEARCH, "seed=1", flags=["-m"], cwd=tmp_path)
    assert refused.returncode == 1
    assert "is the folder of a search with other settings (overrides: " in refused.stderr
