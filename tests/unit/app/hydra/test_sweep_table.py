import json
import os
import threading
import weakref

import pytest
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import RunMode
from omegaconf import OmegaConf

from alm_lightning.app.hydra.callbacks import SweepTable
from alm_lightning.app.hydra.sweep_table import (
    cell,
    markdown,
    portable,
    read_failure,
    sweep_rows,
    write_sweep,
)


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


class Unportable(Exception):
    """One that pickle makes anew from its text alone, as many errors of web clients."""

    def __init__(self, message, *, response):
        super().__init__(message)


def test_an_error_that_no_other_process_can_read_becomes_its_text(tmp_path):
    plain = ValueError("x")
    assert portable(plain) is plain
    config, done = job(tmp_path, 0, error=Unportable("not found", response=404))
    SweepTable().on_job_end(config, job_return=done)
    with pytest.raises(RuntimeError, match="Unportable: not found"):
        _ = done.return_value
    assert read_failure(tmp_path / "0") == "Unportable: not found"


def test_a_failed_run_is_not_kept_in_memory(tmp_path):
    class Model:
        """Stands for what a run holds."""

    held = []

    def run():
        model = Model()
        held.append(weakref.ref(model))
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("x") from error

    try:
        run()
    except ValueError as error:
        config, done = job(tmp_path, 0, error=error)
    assert held[0]() is not None
    SweepTable().on_job_end(config, job_return=done)
    assert held[0]() is None
    with pytest.raises(ValueError, match="x"):
        _ = done.return_value


def test_a_search_without_a_result_ends_with_its_first_error(tmp_path, sweep):
    (tmp_path / "earlier").mkdir()
    (tmp_path / "earlier" / "failure.json").write_text(
        '{"overrides": [], "error": "x"}', encoding="utf-8"
    )
    os.utime(tmp_path / "earlier" / "failure.json", (0, 0))
    (tmp_path / "search.json").write_text("{}", encoding="utf-8")
    for number in range(2):
        config, done = job(tmp_path, number, error=ValueError(f"no such model {number}"))
        config.search = {"trial": number}
        config.hydra.sweeper = {"n_trials": 2}
        if number == 0:
            SweepTable().on_job_end(config, job_return=done)
        else:
            with pytest.raises(SystemExit, match=r"none of the 2 runs .* no such model 0"):
                SweepTable().on_job_end(config, job_return=done)
    # a run of an earlier call has a figure
    sweep(**{"7": 1.5})
    SweepTable().on_job_end(config, job_return=done)


def test_values_are_shown_as_they_are(sweep, capsys):
    folder = sweep(**{"0": 1.5, "1": 1.5})
    for run, value in (("0", "[/a,/b]"), ("1", "[c]")):
        path = folder / run / "summary.json"
        summary = json.loads(path.read_text(encoding="utf-8")) | {"overrides": [f"x={value}"]}
        path.write_text(json.dumps(summary), encoding="utf-8")
    config, _ = job(folder, "2")
    SweepTable().on_multirun_end(config)
    shown = capsys.readouterr().out
    assert "x=[/a,/b]" in shown
    assert "x=[c]" in shown


def test_a_figure_that_is_no_number_comes_last_in_a_search(sweep):
    folder = sweep(**{"0": 1.5, "1": 1.5, "2": 1.5})
    (folder / "search.json").write_text("{}", encoding="utf-8")
    for run, value in (("0", float("nan")), ("1", 3.0), ("2", 1.0)):
        path = folder / run / "summary.json"
        summary = json.loads(path.read_text(encoding="utf-8"))
        summary["bits_per_byte"]["student_after"] = value
        path.write_text(json.dumps(summary), encoding="utf-8")
    assert [row["run"] for row in sweep_rows(folder)] == ["2", "1", "0"]


def test_runs_that_end_at_once_are_all_in_the_table(sweep):
    folder = sweep(**{str(number): 1.5 for number in range(4)})
    threads = [threading.Thread(target=write_sweep, args=[folder]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(json.loads((folder / "sweep.json").read_text(encoding="utf-8"))) == 4
    assert len((folder / "sweep.md").read_text(encoding="utf-8").splitlines()) == 6


def test_rows_of_a_search_have_the_order_of_what_it_minimises(sweep, capsys):
    folder = sweep(**{"0": 1.5, "1": 1.5, "2": 1.5})
    (folder / "search.json").write_text("{}", encoding="utf-8")
    for run, value in (("0", 2.5), ("1", 1.5)):
        path = folder / run / "summary.json"
        summary = json.loads(path.read_text(encoding="utf-8"))
        summary["overrides"] += [f"search.trial={run}", f"rate={value}"]
        summary["bits_per_byte"]["student_after"] = value
        path.write_text(json.dumps(summary), encoding="utf-8")
    (folder / "0" / "pruned.json").write_text('{"step": 20}', encoding="utf-8")
    config, done = job(folder, 2, error=ValueError("x"))
    (folder / "2" / "summary.json").unlink()
    SweepTable().on_job_end(config, job_return=done)
    rows = sweep_rows(folder)
    assert [row["run"] for row in rows] == ["1", "0", "2"]
    assert [row["overrides"] for row in rows[:2]] == ["name=1, rate=1.5", "name=0, rate=2.5"]
    assert [row["stopped at step"] for row in rows] == ["", "20", ""]
    # the screen has room for what a search is about
    config.search = {"trial": 0}
    capsys.readouterr()
    SweepTable().on_multirun_end(config)
    shown = capsys.readouterr().out
    assert "3 runs in" in shown
    assert "teacher" not in shown
    assert (folder / "sweep.md").read_text(encoding="utf-8").startswith("| run | overrides |")


def test_a_number_that_a_sampler_drew_is_short_in_a_table():
    assert cell("a.rate=0.0005900552117104903, b=inf") == "a.rate=0.0005901, b=inf"
    assert cell("rate=6.165182191827253e-05") == "rate=6.165e-05"
    assert cell("seed=0, rate=3.0e-4, path=1.5000000x") == "seed=0, rate=3.0e-4, path=1.5000000x"
