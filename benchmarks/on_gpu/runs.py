"""Training runs side by side, each a `python train.py` that ends in time."""

import csv
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import lightning as L

from alm_lightning.app.bakeoff.pool import environments

ROOT = Path(__file__).resolve().parents[2]
CLOSING = 0.15
"""Share of a run's time that is left for its last evaluation."""
PATIENCE = 5.0
"""Seconds in which a process that was asked to end must have done so."""


class StopAt(L.Callback):
    """Ends training at the end of a step, so that what is there is measured.

    Args:
        time: When, in seconds since the epoch.
    """

    def __init__(self, *, time: float):
        self.time = time

    def on_train_batch_end(self, trainer: L.Trainer, *args) -> None:
        if time.time() > self.time:
            trainer.should_stop = True


@dataclass
class Run:
    """One `python train.py`: what it is of, and what came of it."""

    objective: str
    rate: str
    seed: str
    folder: Path
    summary: dict | None = None
    steps: list[float] = field(default_factory=list)
    """Seconds of each step."""
    error: str = ""

    @property
    def log(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.log")


def do_all(runs: list[Run], shared: list[str], *, side_by_side: int, deadline: float) -> None:
    """Does the runs, several at a time, each with an equal share of the time that is left."""
    waves = -(-len(runs) // side_by_side)
    share = (deadline - time.time()) / waves
    places = environments(side_by_side)
    lock = threading.Lock()

    def do(run: Run) -> None:
        ends = min(time.time() + share, deadline)
        if ends - time.time() < share / 2:
            run.error = "not started: no time left"
            return
        with lock:
            place = places.pop()
        try:
            start(run, shared, place, stop=ends - CLOSING * share, kill=ends + CLOSING * share / 2)
        finally:
            places.append(place)
        print(f"{run.folder.name}: {run.error or 'done'}", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(side_by_side) as executor:
        list(executor.map(do, runs))


def start(run: Run, shared: list[str], place: dict, *, stop: float, kill: float) -> None:
    """A run from its start to its figures; `stop` and `kill` are times since the epoch."""
    own = [f"objective={run.objective}", f"budget.learning_rate={run.rate}", f"seed={run.seed}"]
    ends = f"+callbacks.stop_at={{_target_:on_gpu.runs.StopAt,time:{stop:.0f}}}"
    where = f"hydra.run.dir={run.folder}"
    command = [sys.executable, str(ROOT / "train.py"), *shared, *own, ends, where]
    paths = [str(ROOT / "src"), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, **place, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with run.log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
        )
        try:
            code = process.wait(timeout=kill - time.time())
        except subprocess.TimeoutExpired:
            process.terminate()
            code = _ended(process)
            run.error = "stopped: no time left"
    run.steps = seconds_of(run.folder / "metrics.csv")
    summary = run.folder / "summary.json"
    if summary.is_file():
        run.summary = json.loads(summary.read_text("utf-8"))
    elif not run.error:
        lines = run.log.read_text("utf-8", errors="replace").strip().splitlines()
        run.error = f"ended with {code}: {' / '.join(lines[-3:])}"


def _ended(process: subprocess.Popen) -> int:
    try:
        return process.wait(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def seconds_of(path: Path) -> list[float]:
    """Seconds of each step of a run, from what it logged."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8") as file:
        rows = [row.get("speed/seconds_per_step") for row in csv.DictReader(file)]
    return [float(value) for value in rows if value]
