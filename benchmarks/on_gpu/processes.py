"""Parts of `benchmarks/gpu.py`, each a process of its own: what one leaves behind ends with it.

While a part has the device, the next one imports what it needs and makes its models on the CPU, and
waits for a word. Output goes to files, since a pipe is open as long as a process that a part began.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from on_gpu.rows import Row

ROOT = Path(__file__).resolve().parents[2]
MARK = "ROW "
"""Begins a line of a part's output that is a line of the table."""
NEVER_LATER = 15
"""Seconds without which no part begins."""


class Part:
    """A part that prepares itself, and does its work when it is told to.

    Args:
        name: As `--only` has it.
        folder: Where it writes; shared by all parts.
        arguments: Of the command line.
        quick: Whether it must not see a card.
    """

    def __init__(self, name: str, folder: Path, arguments: list[str], *, quick: bool):
        self.name = name
        self.output, self.log = folder / f"{name}.out", folder / f"{name}.log"
        paths = [str(ROOT / "src"), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        if quick:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        self._has_ended = False
        hidden = ["--part", name, "--folder", str(folder)]
        with self.output.open("wb") as output, self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(ROOT / "benchmarks/gpu.py"), *hidden, *arguments],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=log,
                env=environment,
                # what it starts, such as compilers, ends with it
                start_new_session=True,
            )

    def rows(self, *, seconds: float) -> list[Row]:
        """Lets it work for so long, and collects its lines of the table."""
        if seconds < NEVER_LATER:
            self.end()
            return [Row(self.name, "all of it", error="not started: no time left")]
        wrong = None
        with contextlib.suppress(BrokenPipeError):
            # it may have failed already: its log says why
            self._process.stdin.write(b"go\n")
            self._process.stdin.close()
        try:
            code = self._process.wait(timeout=seconds)
            if code:
                said = self.log.read_text("utf-8", errors="replace").strip().splitlines()[-3:]
                wrong = f"ended with {code}: {' / '.join(said)}"
        except subprocess.TimeoutExpired:
            wrong = f"stopped after {seconds:.0f} s: no time left"
        self.end()
        lines = self.output.read_text("utf-8", errors="replace").splitlines()
        # one by one as they were found: what is there when a part is stopped counts
        whole = [each.removeprefix(MARK) for each in lines if each.startswith(MARK)]
        rows = [Row(**json.loads(each)) for each in whole if each.endswith("}")]
        return rows if wrong is None else [*rows, Row(self.name, "the rest of it", error=wrong)]

    def end(self) -> None:
        """Ends it, with all that it started, if it is still there."""
        if self._has_ended:
            # by now its number may be another process's
            return
        self._has_ended = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
