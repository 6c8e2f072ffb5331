"""What sharing the body of teacher and student saves, by ways of training, each in its own process.

    python benchmarks/memory.py [experiment=...] [group=option] [key=value]

Without overrides: Gemma 3 270M onto SmolLM2's tokenizer. All ways take the same steps on the same
batches. Two figures of memory, both without files that are mapped: what a process holds once both
models stand, and the most that it held in its steps, the optimizer's state included. On a GPU they
are the allocator's. Before that, weights that a loader left mapped from their file are copied into
memory, since pages of a file count only where they were touched; loading itself is not measured.
`budget.steps` says how many steps are taken.
"""

import ctypes
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import hydra
import lightning as L
import torch

from alm_lightning.app.hydra.model_groups import register_models
from alm_lightning.app.train.build import build_trainer, plan_of
from alm_lightning.distillation.quiet import quiet_warnings
from alm_lightning.models.structure import layers_of

WARM_UP = 2
"""Steps whose seconds are not counted: they pay for memory that later ones find allocated."""
CONF = Path(__file__).resolve().parents[1] / "conf"
WAYS = {
    "LoRA, one body": ["adapter=lora", "adapter.share_body=true"],
    "LoRA, two bodies": ["adapter=lora", "adapter.share_body=false"],
    "full fine-tuning, two bodies": ["adapter=full"],
}
DEFAULTS = ["experiment=gemma_to_smollm2_tokenizer", "budget.batch_size=4", "budget.steps=6"]
MEBIBYTE = 2**20


def held_bytes() -> int:
    """Memory in use now: on the GPU if there is one, else resident and of no file."""
    if torch.cuda.is_available():
        return torch.cuda.memory_allocated()
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


class Peak:
    """The most memory held within, looked at every few milliseconds."""

    def __enter__(self) -> "Peak":
        self.bytes = 0
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.bytes = max(self.bytes, held_bytes())

    def __exit__(self, *error) -> None:
        self._done.set()
        self._thread.join()
        if torch.cuda.is_available():
            self.bytes = torch.cuda.max_memory_allocated()


class Clock(L.Callback):
    """Seconds of each step."""

    def __init__(self):
        self.seconds: list[float] = []

    def on_train_batch_start(self, *args) -> None:
        self.started = time.perf_counter()

    def on_train_batch_end(self, *args) -> None:
        self.seconds.append(time.perf_counter() - self.started)


def measure(overrides: list[str]) -> dict[str, float]:
    """Memory and time of one way, in this process."""
    quiet_warnings()
    register_models(CONF)
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose("train", ["paths.output_dir=outputs/benchmark", *overrides])
    if cfg.budget.steps <= WARM_UP:
        sys.exit(f"budget.steps={cfg.budget.steps}: expected more than {WARM_UP}, which warm up.")
    cfg.callbacks, cfg.logger = {}, {}
    L.seed_everything(cfg.seed, verbose=False)
    plan = plan_of(cfg)
    documents = plan.data.read()
    student, teacher = plan.pair.build(plan.accelerator)
    for parameter in {*student.model.parameters(), *teacher.model.parameters()}:
        # out of files, if it is in one
        parameter.data = parameter.data.clone()
    data = plan.data.pair(documents, student, teacher)
    module = plan.module(student, teacher)
    trainer = build_trainer(cfg)
    clock = Clock()
    trainer.callbacks.append(clock)
    if torch.cuda.is_available():
        student.to("cuda")
        teacher.to("cuda")
    else:
        # what loading has freed
        ctypes.CDLL(None).malloc_trim(0)
    held = held_bytes()
    with Peak() as peak:
        trainer.fit(module, datamodule=data)
    body = sum(p.numel() * p.element_size() for p in layers_of(teacher.model).parameters())
    trained = sum(p.numel() for p in student.model.parameters() if p.requires_grad)
    return {
        "body": body,
        "trained": trained,
        "held": held,
        "peak": peak.bytes,
        "seconds": statistics.median(clock.seconds[WARM_UP:]),
    }


def runs(arguments: list[str]) -> dict[str, list[str]]:
    """What is composed for each way."""
    return {way: [*DEFAULTS, *arguments, *overrides] for way, overrides in WAYS.items()}


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2:])))
        return
    found = {}
    for way, overrides in runs(sys.argv[1:]).items():
        command = [sys.executable, __file__, "--measure", *overrides]
        # large blocks go back to the system as soon as they are freed
        settings = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"}
        done = subprocess.run(command, env=settings, stdout=subprocess.PIPE, text=True, check=True)
        found[way] = json.loads(done.stdout.splitlines()[-1])
    print(table(found))


def table(found: dict[str, dict[str, float]]) -> str:
    """The ways beside each other, and what the first one saves."""
    shared = next(iter(found.values()))
    lines = [
        f"body (transformer layers): {shared['body'] / MEBIBYTE:,.0f} MiB",
        "",
        "| | trained parameters | held (MiB) | peak (MiB) | less than this at its peak (MiB) "
        "| in bodies | s a step |",
        "|---|---|---|---|---|---|---|",
    ]
    for way, figures in found.items():
        saved = figures["peak"] - shared["peak"]
        lines.append(
            f"| {way} | {figures['trained']:,} | {figures['held'] / MEBIBYTE:,.0f} "
            f"| {figures['peak'] / MEBIBYTE:,.0f} | {saved / MEBIBYTE:,.0f} "
            f"| {saved / shared['body']:.2f} | {figures['seconds']:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
