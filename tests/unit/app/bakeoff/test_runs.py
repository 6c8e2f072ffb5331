"""Runs as processes: their folders, failures, checkpoints; what earlier calls left."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from alm_lightning.app.bakeoff.figures import evaluation_folder
from alm_lightning.app.bakeoff.plan import Plan
from alm_lightning.app.bakeoff.results import check_earlier_runs, differences, is_finished
from alm_lightning.app.bakeoff.runs import Programs, locked, newest_checkpoint

# processes that wait for one another
pytestmark = pytest.mark.slow

TRAIN = """
import json, os, pathlib, signal, sys, time
said = dict(argument.split("=", 1) for argument in sys.argv[1:] if "=" in argument)
folder = pathlib.Path(said["hydra.run.dir"].strip("'"))
folder.mkdir(parents=True)
(folder / "checkpoints").mkdir()
print("told:", *sys.argv[1:])
if said["do"] == "die":
    os.kill(os.getpid(), signal.SIGKILL)
if said["do"] == "fail":
    (folder / "failure.json").write_text(json.dumps({"error": "ValueError: no corpus"}))
    sys.exit(1)
if said["do"] == "diverge":
    (folder / "checkpoints" / "last.ckpt").write_text("weights")
    (folder / "diverged.json").write_text(json.dumps({"step": 3, "message": "norm nan"}))
    sys.exit(1)
if said["do"] == "vanish":
    sys.exit("the dog ate it")
(folder / "checkpoints" / "last.ckpt").write_text("weights")
(folder / "model").mkdir()
if said["do"] == "wait":
    time.sleep(60)
summary = {"model_path": "model", "arguments": sys.argv[1:]}
(folder / "summary.json").write_text(json.dumps(summary))
"""


@pytest.fixture
def programs(tmp_path):
    train = tmp_path / "train.py"
    train.write_text(TRAIN, encoding="utf-8")
    with locked(tmp_path / "sweep") as lock:
        yield Programs(
            train_command=[str(train)],
            evaluate_command=[str(tmp_path / "evaluate.py")],
            flags=["--config-dir", "own"],
            hydra=["hydra.verbose=true"],
            lock=lock,
            keep_checkpoints=False,
            evaluate_arguments=None,
        )


def run(tmp_path, do="end"):
    plan = Plan(tmp_path / "sweep", {"alm": [f"do={do}"]}, {}, ["3e-05"], [0], {})
    return plan.run("alm", "3e-05", 0)


def test_what_a_run_is_told(programs, tmp_path):
    own = run(tmp_path)
    assert own.folder == tmp_path / "sweep" / "alm" / "lr_3e-05" / "seed_0"
    assert own.overrides == ("do=end", "objective=alm", "budget.learning_rate=3e-05", "seed=0")
    assert programs.train(own) is None
    summary = json.loads((own.folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["arguments"] == [
        "--config-dir",
        "own",
        *own.overrides,
        "hydra.verbose=true",
        f"hydra.run.dir='{own.folder}'",
    ]
    assert is_finished(own.folder)
    # they are only to go on from
    assert not (own.folder / "checkpoints").exists()
    assert "told: --config-dir own" in own.folder.with_name("seed_0.log").read_text("utf-8")


def test_a_folder_with_quotes_and_backslashes_reaches_the_run(programs, tmp_path, monkeypatch):
    told = []

    def process(self, program, overrides, log_file):
        told.append(overrides)
        return 1

    monkeypatch.setattr(Programs, "_process", process)
    folder = tmp_path / "it\\'s, a=sweep"
    own = replace(run(tmp_path), folder=folder / "seed_0")
    folder.mkdir()
    (folder / "seed_0.log").write_text("x", encoding="utf-8")
    programs.train(own)
    (override,) = OverridesParser.create().parse_overrides(told[0][-1:])
    assert str(override.value()) == str(folder / "seed_0")


def test_checkpoints_are_kept_if_it_is_said(programs, tmp_path):
    own = run(tmp_path)
    assert replace(programs, keep_checkpoints=True).train(own) is None
    assert (own.folder / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.parametrize(
    ("do", "error"),
    [
        ("fail", "^ValueError: no corpus$"),
        ("diverge", "^it diverged: norm nan$"),
        ("vanish", r"^it ended with 1: the dog ate it \(.*seed_0\.log\)$"),
        ("die", r"^it was killed by signal 9: told: "),
    ],
)
def test_why_a_run_failed(programs, tmp_path, do, error):
    own = run(tmp_path, do)
    assert re.search(error, programs.train(own))
    assert not is_finished(own.folder)
    # a run that diverged does not go on
    assert (own.folder / "checkpoints").exists() == (do != "diverge")


def test_a_run_that_was_stopped_goes_on_and_nothing_is_written_over(programs, tmp_path):
    own = run(tmp_path)
    for number, name in enumerate(("last.ckpt", "stopped.ckpt")):
        (own.folder / "checkpoints").mkdir(parents=True)
        path = own.folder / "checkpoints" / name
        path.write_text(f"attempt {number}", encoding="utf-8")
        os.utime(path, (number, number))
        (own.folder / "metrics.csv").write_text(f"{number}", encoding="utf-8")
        if number == 0:
            own.folder.rename(own.folder.with_name("seed_0.stopped_0"))
    kept = replace(programs, keep_checkpoints=True)
    assert kept.train(own) is None
    moved = own.folder.with_name("seed_0.stopped_1")
    summary = json.loads((own.folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["arguments"][-1] == f"ckpt_path='{moved}/checkpoints/stopped.ckpt'"
    for number in range(2):
        attempt = own.folder.with_name(f"seed_0.stopped_{number}")
        assert (attempt / "metrics.csv").read_text(encoding="utf-8") == str(number)


def test_an_attempt_takes_a_name_that_is_free(programs, tmp_path):
    own = run(tmp_path)
    for name in ("seed_0", "seed_0.stopped_1"):
        folder = own.folder.with_name(name)
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text(name, encoding="utf-8")
    assert programs.train(own) is None
    kept = {n: own.folder.with_name(f"seed_0.stopped_{n}") / "metrics.csv" for n in (0, 1)}
    assert kept[0].read_text(encoding="utf-8") == "seed_0"
    assert kept[1].read_text(encoding="utf-8") == "seed_0.stopped_1"


def test_a_run_that_was_stopped_before_its_first_checkpoint_starts_anew(programs, tmp_path):
    own = run(tmp_path)
    own.folder.mkdir(parents=True)
    assert newest_checkpoint([own.folder]) is None
    assert programs.train(own) is None
    summary = json.loads((own.folder / "summary.json").read_text(encoding="utf-8"))
    assert not any("ckpt_path" in argument for argument in summary["arguments"])


def test_the_checkpoint_of_a_run_with_spread_weights_is_a_folder(tmp_path):
    checkpoint = tmp_path / "seed_0/checkpoints/stopped.ckpt"
    checkpoint.mkdir(parents=True)
    assert newest_checkpoint([tmp_path / "seed_0"]) == checkpoint


HOLD = """
import pathlib, signal, sys
from alm_lightning.app.bakeoff.plan import Plan
from alm_lightning.app.bakeoff.runs import Programs, locked
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
folder = pathlib.Path(sys.argv[1])
with locked(folder / "sweep") as lock:
    programs = Programs([str(folder / "train.py")], [], [], [], lock, False, None)
    plan = Plan(folder / "sweep", {"alm": ["do=wait"]}, {}, ["1"], [0], {})
    run = plan.run("alm", "1", 0)
    programs.pool.run_tasks([lambda: programs.train(run)])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_folder_is_held_until_the_last_run_is_gone(tmp_path, number):
    (tmp_path / "train.py").write_text(TRAIN, encoding="utf-8")
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)])
    checkpoint = tmp_path / "sweep" / "alm" / "lr_1" / "seed_0" / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not checkpoint.is_file():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with pytest.raises(RuntimeError, match="another bake-off"), locked(tmp_path / "sweep"):
        pass
    process.send_signal(number)
    process.wait(timeout=60)
    if number == signal.SIGTERM:
        # it has ended its run
        with locked(tmp_path / "sweep"):
            return
    # the run that it left behind goes on, and may not be taken for a dead one
    with pytest.raises(RuntimeError, match="left behind"), locked(tmp_path / "sweep"):
        pass
    for entry in os.listdir("/proc"):
        if entry.isdigit() and str(tmp_path / "sweep").encode() in _command(entry):
            os.kill(int(entry), signal.SIGKILL)


def _command(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def test_runs_of_other_settings_are_refused(tmp_path):
    config = {"budget": {"steps": 3, "learning_rate": 1.0, "lengths": [1, 2]}, "seed": 0}
    plan = Plan(tmp_path, {"alm": []}, {"alm": config}, ["1", "2"], [0, 1], {})
    folder = plan.run("alm", "2", 1).folder / ".hydra"
    folder.mkdir(parents=True)
    # the folder's name tells these two
    then = {"budget": {"steps": 3, "learning_rate": 2.0, "lengths": [1, 2]}, "seed": 1}
    OmegaConf.save(OmegaConf.create(then | {"paths": {"output_dir": "x"}}), folder / "config.yaml")
    check_earlier_runs(plan)
    then["budget"]["steps"], then["objective"] = 4, {"alm": {"temperature": 5}}
    OmegaConf.save(OmegaConf.create(then), folder / "config.yaml")
    with pytest.raises(ValueError, match=r"lr_2/seed_1 is of a run with other settings") as caught:
        check_earlier_runs(plan)
    assert "  budget.steps: 4 then, 3 now\n" in str(caught.value)
    assert "objective: {'alm': {'temperature': 5}} then, 'not set' now" in str(caught.value)
    assert "another hydra.sweep.dir" in str(caught.value)


def test_what_changes_no_figure_is_free():
    then = {"num_workers": 0, "logger": {"csv": {}}, "alignment": {"workers": 1, "kind": "a"}}
    now = {"num_workers": 2, "logger": {"wandb": {}}, "alignment": {"workers": 2, "kind": "b"}}
    assert differences(then, now) == ["alignment.kind: 'a' then, 'b' now"]


def test_evaluate_is_called_once_with_the_same_arguments(programs, tmp_path):
    own = run(tmp_path)
    assert programs.train(own) is None
    assert programs.evaluate(own) is None
    assert not list(own.folder.glob("evaluation*"))
    (tmp_path / "evaluate.py").write_text(
        "import pathlib, sys\n"
        "folder = pathlib.Path(sys.argv[-1].partition('=')[2].strip(\"'\"))\n"
        "folder.mkdir(exist_ok=True)\n"
        "with (folder / 'calls').open('a') as file: print(*sys.argv[3:], file=file)\n"
        "sys.exit('no pairs' if 'harness=blimp' in sys.argv else 0)\n",
        encoding="utf-8",
    )
    asked = replace(programs, evaluate_arguments=["harness=gsm8k", "seed=1"])
    assert asked.evaluate(own) is None
    assert asked.evaluate(own) is None
    folder = evaluation_folder(own.folder, ["harness=gsm8k", "seed=1"])
    calls = (folder / "calls").read_text(encoding="utf-8").splitlines()
    assert calls == [f"model='{own.folder}' harness=gsm8k seed=1 hydra.run.dir='{folder}'"]
    # other arguments leave what these have found, and go elsewhere
    assert replace(programs, evaluate_arguments=["harness=gsm8k", "seed=2"]).evaluate(own) is None
    assert (folder / "calls").read_text(encoding="utf-8").splitlines() == calls
    assert len(list(own.folder.glob("evaluation_*/arguments.json"))) == 2
    error = replace(programs, evaluate_arguments=["harness=blimp"]).evaluate(own)
    assert error.startswith("evaluate.py ended with 1: no pairs (")
    # a model that is gone is told before evaluate.py starts
    (own.folder / "model").rmdir()
    error = replace(programs, evaluate_arguments=["harness=sft"]).evaluate(own)
    assert error.startswith("its model is gone (")
    assert error.endswith(f"move {own.folder} away to train it again.")
    # what it was evaluated with before is not done anew
    assert asked.evaluate(own) is None
