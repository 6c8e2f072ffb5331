import json

import pytest
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import RunMode
from omegaconf import OmegaConf

from alm_lightning.app.hydra.callbacks import SweepTable
from alm_lightning.app.hydra.sweep_table import markdown, read_failure, sweep_rows


@pytest.fixture
def sweep(tmp_path):
    def write(**per_step):
        for name, seconds in per_step.items():
            (tmp_path / name).mkdir()
            summary = {
                "overrides": ["seed=0", f"name={name}"],
                "bits_per_byte": {"teacher": 1.0, "student_before": 4.0, "student_after": 2.0},
                "bits_per_byte_other": {"student_after": 3.0},
                "chunk_difference": {"after": 0.5, "after_other": 0.75},
                "seconds": {"per_step": seconds},
            }
            (tmp_path / name / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["10", "2", "0"], ["0", "2", "10"]),
        (["b", "a"], ["a", "b"]),
        (["seed_1", "10", "2", "\N{SUPERSCRIPT TWO}"], None),
    ],
)
def test_rows_are_in_the_order_of_the_runs(sweep, names, order):
    rows = sweep_rows(sweep(**dict.fromkeys(names, 1.5)))
    found = [row["overrides"].removeprefix("name=") for row in rows]
    assert found == order or (order is None and sorted(found) == sorted(names))


def test_a_run_that_timed_nothing(sweep):
    lines = markdown(sweep_rows(sweep(a=None, b=1.5))).splitlines()
    assert lines[2].endswith("| - |")
    assert lines[3].endswith("| 1.500 |")


def test_every_figure_has_its_column(sweep):
    (row,) = sweep_rows(sweep(a=1.5))
    assert row == {
        "overrides": "",
        "bpb teacher": 1.0,
        "bpb before": 4.0,
        "bpb after": 2.0,
        "bpb after, other domain": 3.0,
        "chunk difference (nats)": 0.5,
        "chunk difference, other domain": 0.75,
        "s a step": 1.5,
    }


def job(folder, number, mode=RunMode.MULTIRUN, error=None):
    """What Hydra hands to callbacks at the end of a job."""
    done = JobReturn(overrides=["seed=0", f"name={number}"], status=JobStatus.COMPLETED)
    if error is not None:
        done.status, done.return_value = JobStatus.FAILED, error
    output_dir = folder / str(number)
    output_dir.mkdir(exist_ok=True)
    hydra = {"mode": mode, "runtime": {"output_dir": str(output_dir)}}
    return OmegaConf.create({"hydra": hydra | {"sweep": {"dir": str(folder)}}}), done


def test_a_failed_job_leaves_the_others_and_the_table(sweep, capsys):
    folder, callback = sweep(**{"0": 1.5, "2": 2.5}), SweepTable()
    for number, error in ((0, None), (1, ValueError("no such\ncorpus | file")), (2, None)):
        config, done = job(folder, number, error=error)
        callback.on_job_end(config, job_return=done)
        # after each: nothing is called once a job has failed
        assert (folder / "sweep.md").is_file()
    rows = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    assert [row["overrides"] for row in rows] == ["name=0", "name=1", "name=2"]
    assert [row["failed"] for row in rows] == ["", "ValueError: no such corpus | file", ""]
    assert [row["bpb after"] for row in rows] == [2.0, None, 2.0]
    assert read_failure(folder / "1") == "ValueError: no such\ncorpus | file"
    assert read_failure(folder / "0") is None
    line = (folder / "sweep.md").read_text(encoding="utf-8").splitlines()[3]
    assert line == r"| name=1 | - | - | - | - | - | - | - | ValueError: no such corpus \| file |"
    # what is shown at the end folds, but has all rows
    callback.on_multirun_end(config)
    assert "3 runs in" in capsys.readouterr().out


def test_a_run_that_failed_after_its_summary_has_both(sweep):
    folder = sweep(a=1.5)
    config, done = job(folder, "a", error=OSError("disk full"))
    SweepTable().on_job_end(config, job_return=done)
    (row,) = sweep_rows(folder)
    assert (row["bpb after"], row["failed"]) == (2.0, "OSError: disk full")


def test_a_bake_off_that_was_refused_leaves_no_failure_in_its_folder(tmp_path):
    config, done = job(tmp_path, "bakeoff", error=ValueError("other settings"))
    config.bakeoff = {"objectives": ["alm"]}
    SweepTable().on_job_end(config, job_return=done)
    assert list(tmp_path.rglob("*")) == [tmp_path / "bakeoff"]


def test_a_single_run_has_no_table_but_leaves_word_of_its_failure(tmp_path):
    config, done = job(tmp_path, "run", mode=RunMode.RUN, error=ValueError("x"))
    SweepTable().on_job_end(config, job_return=done)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert read_failure(tmp_path / "run") == "ValueError: x"
