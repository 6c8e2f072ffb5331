"""Multiruns as a person calls them: a bake-off and its resuming, and what a failed run leaves."""

import json
import shutil

import pytest
from omegaconf import OmegaConf

pytestmark = pytest.mark.slow

BAKEOFF = [
    "sweep=bakeoff",
    "bakeoff.objectives=[next_token,alm]",
    "bakeoff.learning_rates=[1e-3,1e-2]",
    "bakeoff.seeds=[0,1]",
    "sample_prompts=0",
]


def test_a_bake_off_goes_on_and_runs_nothing_twice(run_apart, tmp_path):
    first = run_apart(*BAKEOFF, flags=["-m"], cwd=tmp_path, without=["objective"])
    assert first.returncode == 0, first.stderr
    folder = tmp_path / "multirun" / "tiny-gemma_to_bytes" / "bakeoff"
    assert first.stdout.splitlines()[-1] == str(folder / "bakeoff.json")
    finished = {path: path.stat().st_mtime_ns for path in folder.glob("*/*/*/summary.json")}
    # two rates with the first seed, the best with the second, of each objective
    assert len(finished) == 2 * 3
    table = json.loads((folder / "bakeoff.json").read_text(encoding="utf-8"))
    for row in table["objectives"]:
        rate = f"{row['learning_rate']:g}"
        values = []
        for seed in (0, 1):
            path = folder / row["objective"] / f"lr_{rate}" / f"seed_{seed}" / "summary.json"
            summary = json.loads(path.read_text(encoding="utf-8"))
            assert (summary["seed"], summary["steps"]) == (seed, 3)
            assert f"objective={row['objective']}" in summary["overrides"]
            values.append(summary["bits_per_byte_other"]["student_after"])
        figure = row["figures"]["bits per byte, other domain"]
        assert figure["value"] == pytest.approx(sum(values) / 2)
        assert figure["stderr"] == pytest.approx(abs(values[0] - values[1]) / 2)
    assert (folder / "bakeoff.svg").is_file()
    # a setting of ALM's goes to ALM alone
    for objective in ("alm", "next_token"):
        path = folder / objective / "lr_0.01" / "seed_0" / "summary.json"
        overrides = json.loads(path.read_text(encoding="utf-8"))["overrides"]
        assert ("objective.alm.threshold=0.01" in overrides) == (objective == "alm")

    # one run was stopped: it alone is done
    stopped = folder / "alm" / "lr_0.001" / "seed_0"
    (stopped / "summary.json").unlink()
    second = run_apart(*BAKEOFF, flags=["-m"], cwd=tmp_path, without=["objective"])
    assert second.returncode == 0, second.stderr
    assert stopped.with_name("seed_0.stopped_0").is_dir()
    again = {path: path.stat().st_mtime_ns for path in folder.glob("*/*/*/summary.json")}
    assert again.keys() == finished.keys()
    assert {path for path in again if again[path] != finished[path]} == {stopped / "summary.json"}

    # other settings are another bake-off
    third = run_apart(*BAKEOFF, "budget.steps=4", flags=["-m"], cwd=tmp_path, without=["objective"])
    assert third.returncode == 1
    assert "budget.steps: 3 then, 4 now" in third.stderr


def test_a_failed_run_of_a_bake_off_is_named_and_the_others_are_there(run_apart, tmp_path):
    settings = [*BAKEOFF, "bakeoff.learning_rates=[1e-3]", "bakeoff.seeds=[0]"]
    process = run_apart(
        *settings, "objective.alm.temperature=-1", flags=["-m"], cwd=tmp_path, without=["objective"]
    )
    assert process.returncode == 1
    assert "1 runs failed" in process.stderr
    text = (tmp_path / "multirun/tiny-gemma_to_bytes/bakeoff/bakeoff.md").read_text(
        encoding="utf-8"
    )
    assert "- alm, learning rate 0.001, seed 0: " in text
    assert "temperature" in text.partition("### Failed")[2]
    assert "| next_token | 0.001 | 1 of 1 |" in text


def test_a_plain_call_starts_nothing(run_apart, tmp_path):
    process = run_apart("sweep=bakeoff", cwd=tmp_path)
    assert process.returncode == 1
    assert process.stderr.startswith("sweep=bakeoff is many runs")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_run_of_a_sweep_leaves_the_others_and_the_table(run_apart, tmp_path):
    process = run_apart(
        "objective.alm.temperature=5,-1,1", "sample_prompts=0", flags=["-m"], cwd=tmp_path
    )
    assert process.returncode == 1
    (sweep,) = (tmp_path / "multirun" / "tiny-gemma_to_bytes").iterdir()
    rows = json.loads((sweep / "sweep.json").read_text(encoding="utf-8"))
    assert [row["overrides"].rpartition("=")[2] for row in rows] == ["5", "-1", "1"]
    assert [bool(row["failed"]) for row in rows] == [False, True, False]
    assert "temperature" in rows[1]["failed"]
    assert rows[2]["bpb after"] > 0


def test_runs_of_a_sweep_over_models_are_named_for_their_own(run_apart, model_folder, tmp_path):
    other = tmp_path / "other-gemma"
    shutil.copytree(model_folder, other)
    process = run_apart(
        f"student.source.path={model_folder},{other}",
        "sample_prompts=0",
        flags=["-m"],
        cwd=tmp_path,
    )
    assert process.returncode == 0, process.stderr
    assert "UserWarning" not in process.stderr
    (sweep,) = (tmp_path / "multirun" / "students_to_bytes").iterdir()
    for run, name in enumerate(["tiny-gemma_to_bytes", "other-gemma_to_bytes"]):
        # as composed, as resolved, and as it is told
        for file in (".hydra/config.yaml", "hparams.yaml"):
            assert OmegaConf.load(sweep / str(run) / file).name == name
        summary = json.loads((sweep / str(run) / "summary.json").read_text(encoding="utf-8"))
        assert summary["experiment"] == name
