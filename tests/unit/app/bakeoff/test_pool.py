"""Runs side by side: how many at a time, on which devices, and how all of them are stopped."""

import os
import sys
import threading
import time

import pytest
import torch

from alm_lightning.app.bakeoff.pool import ProcessPool, Stopped, environments

SAY = "import os; print(os.environ['PLACE'], flush=True)"
WAIT = f"{SAY}; import time; time.sleep(60)"


def test_so_many_at_a_time():
    """Two tasks that wait for each other end only if both are at work."""
    meeting = threading.Barrier(2, timeout=30)
    ProcessPool([{}, {}]).run_tasks([meeting.wait] * 4)
    at_work, most = [], []

    def alone():
        at_work.append(1)
        most.append(len(at_work))
        time.sleep(0.02)
        at_work.pop()

    ProcessPool().run_tasks([alone] * 5)
    assert most == [1] * 5


def test_what_ends_one_ends_all():
    """Those at work are stopped, the others never begin, and the reason comes out."""
    begun, stopped = [], threading.Event()

    class Watched(ProcessPool):
        def stop(self):
            super().stop()
            stopped.set()

    def waits():
        begun.append("waits")
        assert stopped.wait(30)
        raise Stopped

    def fails():
        while not begun:
            time.sleep(0.01)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        Watched([{}, {}]).run_tasks([waits, fails, lambda: begun.append("late")])
    assert begun == ["waits"]


def test_each_process_has_an_environment_that_no_other_has(tmp_path):
    """And what is handed back is used again."""
    pool = ProcessPool([{"PLACE": "a"}, {"PLACE": "b"}])
    files = [tmp_path / str(n) for n in range(6)]

    def run(path):
        with path.open("wb") as output:
            assert pool.run_process([sys.executable, "-c", SAY], output, output.fileno()) == 0

    pool.run_tasks([lambda path=path: run(path) for path in files])
    assert {path.read_text().strip() for path in files} == {"a", "b"}


def test_stopping_ends_what_runs_and_begins_nothing(tmp_path):
    """A task that was between two processes has no second one."""
    pool = ProcessPool([{"PLACE": "a"}])
    path, ended = tmp_path / "log", []

    def run():
        with path.open("wb") as output:
            try:
                pool.run_process([sys.executable, "-c", WAIT], output, output.fileno())
            except Stopped:
                ended.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + 30
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    pool.stop()
    thread.join(timeout=30)
    assert ended == [True]
    with path.open("wb") as output, pytest.raises(Stopped):
        pool.run_process([sys.executable, "-c", SAY], output, output.fileno())


@pytest.mark.parametrize(
    ("jobs", "visible", "expected"),
    [
        (1, "0,1", [{}]),
        (2, "0,1,2,3", [{"CUDA_VISIBLE_DEVICES": "0,1"}, {"CUDA_VISIBLE_DEVICES": "2,3"}]),
        (2, "3, GPU-ab", [{"CUDA_VISIBLE_DEVICES": "3"}, {"CUDA_VISIBLE_DEVICES": "GPU-ab"}]),
        (2, "5", [{"CUDA_VISIBLE_DEVICES": "5"}] * 2),
        (2, "", [{}, {}]),
    ],
)
def test_shares_of_gpus(jobs, visible, expected, monkeypatch):
    """Of those that are visible, by whatever name."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert environments(jobs) == expected


def test_shares_of_what_the_machine_has(monkeypatch):
    """All GPUs where nothing says which; without any, cores."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    expected = [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    assert environments(2) == expected
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert environments(3) == [{"OMP_NUM_THREADS": "2"}] * 3
    assert environments(20) == [{"OMP_NUM_THREADS": "1"}] * 20
