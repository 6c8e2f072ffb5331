"""Steps of a recipe: time, speed, memory, waiting for data, and a profile by kernel."""

import time
from collections import Counter
from collections.abc import Iterator

import lightning as L
import torch
from lightning.pytorch.profilers import Profiler

from alm_lightning.distillation.quiet import quiet_warnings
from alm_lightning.models.pair import Scorer
from alm_lightning.training.memory import peak_memory_bytes
from on_gpu import device
from on_gpu.recipes import Built
from on_gpu.rows import Row
from on_gpu.shapes import product_weights

WARM_UP = 2
"""Steps that are not counted: they compile, and take memory that later ones find."""
MOST_STEPS = 3
"""Steps that are counted, if there is time."""
PATIENCE = 15.0
"""Seconds of counted steps after which no further one begins."""
NEXT_BATCH = "train_dataloader_next"
TOP = 15


class Waiting(Profiler):
    """Lightning's own clock of one thing: how long the loop waits for the next batch."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds, self._started = 0.0, 0.0

    def start(self, action_name: str) -> None:
        if NEXT_BATCH in action_name:
            self._started = time.perf_counter()

    def stop(self, action_name: str) -> None:
        if NEXT_BATCH in action_name:
            self.seconds += time.perf_counter() - self._started

    def describe(self) -> None:
        """Says nothing at the end of a run: the table does."""

    def summary(self) -> str:
        return ""


class Watch(L.Callback):
    """Counts steps and tokens between two moments at which the device has nothing to do."""

    def __init__(self, waiting: Waiting, *, most_steps: int, profile: bool):
        self.waiting, self.most_steps, self.with_profile = waiting, most_steps, profile
        self.done = self.counted = 0
        self.seconds = self.waited = 0.0
        self.tokens: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.profile: torch.profiler.profile | None = None
        self.profiled_seconds = 0.0
        self._is_last = False

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        if self._is_last:
            kinds = torch.profiler.ProfilerActivity
            # kernels alone: a card's step launches a hundred thousand
            wanted = kinds.CUDA if device.KIND == "cuda" else kinds.CPU
            self.profile = torch.profiler.profile(activities=[wanted])
            self.profile.start()
            self._profile_began = time.perf_counter()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        self.done += 1
        if self.profile is not None:
            device.wait()
            self.profiled_seconds = time.perf_counter() - self._profile_began
            self.profile.stop()
            trainer.should_stop = True
            return
        if self.done <= WARM_UP:
            device.wait()
            self.started, self.waited_before = time.perf_counter(), self.waiting.seconds
            return
        self.counted += 1
        # counted on the device, which is not waited for
        self.tokens.append(tuple(sum(p.mask.sum() for p in side) for side in _sides(batch)))
        is_late = time.perf_counter() - self.started > PATIENCE
        if self.counted >= self.most_steps or is_late:
            device.wait()
            self.seconds = time.perf_counter() - self.started
            self.waited = self.waiting.seconds - self.waited_before
            # a step takes twice as long with the profiler, or so: not where time is over
            self._is_last = self.with_profile
            trainer.should_stop = not self._is_last


def _sides(batch):
    return [part.student for part in batch], [part.teacher for part in batch]


def steps_rows(name: str, built: Built, *, quick: bool) -> Iterator[Row]:
    """Figures of a recipe, and the profile of one more step of it."""
    quiet_warnings()
    rate = device.product_rate(256 if quick else 8192)
    device.free()
    waiting = Waiting()
    watch = Watch(waiting, most_steps=2 if quick else MOST_STEPS, profile=True)
    built.trainer.profiler = waiting
    built.trainer.callbacks.append(watch)
    if device.KIND == "cuda":
        torch.cuda.reset_peak_memory_stats()
    built.trainer.fit(built.module, datamodule=built.data)
    if not watch.seconds:
        raise RuntimeError(
            f"the run ended after {watch.done} steps: expected {WARM_UP + 1} or more."
        )
    student_tokens, teacher_tokens = (
        float(sum(float(pair[side]) for pair in watch.tokens)) for side in (0, 1)
    )
    per_step = watch.seconds / watch.counted
    scorers = built.module._student_scorer, built.module._teacher_scorer
    work = useful_work(*scorers, student_tokens, teacher_tokens)
    figures = {
        "a step (s)": per_step,
        "student's tokens a second": student_tokens / watch.seconds,
        "share of the matrix-product rate": work / watch.seconds / rate,
        "peak memory (GiB)": peak_memory_bytes() / device.GIBIBYTE,
        "waiting for data (share)": watch.waited / watch.seconds,
        "steps": watch.counted,
    }
    for what, value in figures.items():
        yield Row(name, what, value)
    yield from profile_rows(name, watch)


def useful_work(
    student: Scorer, teacher: Scorer, student_tokens: float, teacher_tokens: float
) -> float:
    """Operations that a step can't do without, of products with weights.

    2 a weight and token forward, 2 for the gradient of what was multiplied, and 2 for that of the
    weight where it is trained: 6 in full fine-tuning. The teacher needs the first 2.
    """
    whole = product_weights(student.model)
    trained = product_weights(student.model, trained=True)
    of_student = (4 * whole + 2 * trained) * student_tokens
    return of_student + 2 * product_weights(teacher.model) * teacher_tokens


def profile_rows(name: str, watch: Watch) -> list[Row]:
    """The kernels that take most of a step, each with its share of all kernels' time."""
    if watch.profile is None:
        return []
    times: Counter[str] = Counter()
    for event in watch.profile.key_averages():
        on_card = event.device_type == torch.autograd.DeviceType.CUDA
        if device.KIND == "cuda" and on_card:
            times[event.key] += event.self_device_time_total
        elif device.KIND == "cpu":
            times[event.key] += event.self_cpu_time_total
    total = sum(times.values())
    if not total:
        return [Row("profile", name, error="the profiler saw no kernel")]
    busy = total / 1e6 / watch.profiled_seconds
    rows = [Row("profile", f"{name}: the device is busy (share of that step)", busy)]
    for kernel, taken in times.most_common(TOP):
        rows.append(Row("profile", f"{name}: {kernel[:80]}".replace("|", "/"), taken / total))
    return rows
