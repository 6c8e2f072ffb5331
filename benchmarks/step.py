"""What a training step costs beyond its bare parts, in one run.

    python benchmarks/step.py [experiment=...] [group=option] [key=value]
    python benchmarks/step.py trainer.precision=32-true student.dtype=float32
    python benchmarks/step.py --profile [key=value]

Bare parts: the teacher's forward pass with whole logits, and the student's forward and backward
pass with a plain cross-entropy on the same batch, by transformers' own means and in the run's own
precision, which is printed. The ratio (bare parts) / (full step) is 1 for a step that costs nothing
beyond them. Parts and steps alternate, and the medians are compared, since the machine may be
shared; `budget.steps` says of how many.

With `--profile`, no parts: the operations of one whole step, by the time that the processor (or the
GPU) is in each of them, and the share of matrix products, attention included.
"""

import statistics
import sys
import time
from pathlib import Path

import hydra
import torch

from alm_lightning.app.hydra.model_groups import register_models
from alm_lightning.app.train.build import build_trainer, plan_of
from alm_lightning.app.train.checks import check_settings
from alm_lightning.data.batch import DistillBatch
from alm_lightning.distillation.checks import chosen_precision
from alm_lightning.distillation.quiet import quiet_warnings

PROFILE = "--profile"
MULTIPLIES = ("mm", "matmul", "linear", "attention", "convolution")
"""What the names of operations contain that are matrix products, and nothing else does."""
MOST = 15
"""Operations that are listed."""
WARM_UP = 2
"""Rounds that are not counted: they pay for memory that later ones find allocated."""
CONF = Path(__file__).resolve().parents[1] / "conf"
DEFAULTS = [
    "paths.output_dir=outputs/benchmark",
    "trainer=cpu",
    "budget.steps=12",
]


class Timer:
    """Seconds of what happens within."""

    def __init__(self):
        self.seconds: list[float] = []

    def __enter__(self):
        # weights that one part has cast to bfloat16 are not there for the next one to find
        torch.clear_autocast_cache()
        self.started = self._now()

    def __exit__(self, *error):
        self.seconds.append(self._now() - self.started)

    def _now(self) -> float:
        if torch.cuda.is_available():
            # a GPU has only been told what to do
            torch.cuda.synchronize()
        return time.perf_counter()

    @property
    def median(self) -> float:
        return statistics.median(self.seconds[WARM_UP:])


def bare_student(model, batch: DistillBatch) -> None:
    labels = batch.student.ids.masked_fill(~batch.student.mask, -100)
    loss = model(
        input_ids=batch.student.ids,
        attention_mask=batch.student.mask.long(),
        labels=labels,
        use_cache=False,
    ).loss
    loss.backward()
    model.zero_grad(set_to_none=True)


@torch.no_grad()
def bare_teacher(model, batch: DistillBatch) -> None:
    model(
        input_ids=batch.teacher.ids,
        attention_mask=batch.teacher.mask.long(),
        use_cache=False,
    )


class Profiled:
    """Operations of the last of a few steps."""

    def __init__(self, step):
        self.step, self.count, self.events = step, 0, []

    def __call__(self, batches: list[DistillBatch], batch_idx: int) -> None:
        self.count += 1
        if self.count <= WARM_UP:
            self.step(batches, batch_idx)
            return
        with torch.profiler.profile(acc_events=True) as profile:
            self.step(batches, batch_idx)
        self.events = profile.key_averages()

    def show(self) -> None:
        on_gpu = torch.cuda.is_available()
        seconds = {
            event.key: (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1e6
            for event in self.events
        }
        total = sum(seconds.values())
        products = sum(s for name, s in seconds.items() if any(m in name for m in MULTIPLIES))
        print(f"{'matrix products':46} {products:7.3f} s {products / total:6.1%}")
        print(f"{'everything else':46} {total - products:7.3f} s {1 - products / total:6.1%}")
        for name, taken in sorted(seconds.items(), key=lambda item: -item[1])[:MOST]:
            print(f"  {name:44} {taken:7.3f} s {taken / total:6.1%}")


def runs(arguments: list[str]) -> dict[str, list[str]]:
    """What is composed, by name."""
    return {"step": [*DEFAULTS, *(each for each in arguments if each != PROFILE)]}


def main() -> None:
    quiet_warnings()
    (overrides,) = runs(sys.argv[1:]).values()
    register_models(CONF)
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose("train", overrides)
    if PROFILE in sys.argv:
        cfg.budget.steps = WARM_UP + 1
    if cfg.budget.steps <= WARM_UP:
        sys.exit(f"budget.steps={cfg.budget.steps}: expected more than {WARM_UP}, which warm up.")
    # Lightning would take another precision in place of one that it lacks, and the printed be wrong
    check_settings(cfg)
    cfg.callbacks, cfg.logger = {}, {}
    plan = plan_of(cfg)
    documents = plan.data.read()
    student, teacher = plan.pair.build(plan.accelerator)
    data = plan.data.pair(documents, student, teacher)
    module = plan.module(student, teacher)

    if PROFILE in sys.argv:
        profiled = Profiled(module.training_step)
        # Lightning looks at the code of the hook, which an object that is called has not
        module.training_step = lambda batches, batch_idx: profiled(batches, batch_idx)
        build_trainer(cfg).fit(module, datamodule=data)
        profiled.show()
        return

    parts = {name: Timer() for name in ("teacher forward", "student forward, backward", "step")}
    original = module.training_step

    # Lightning calls it within the run's precision, so that bare parts are computed in it as well
    def measured(batches: list[DistillBatch], batch_idx: int) -> None:
        with parts["teacher forward"]:
            for batch in batches:
                bare_teacher(teacher.model, batch)
        with parts["student forward, backward"]:
            for batch in batches:
                bare_student(student.model, batch)
        with parts["step"]:
            original(batches, batch_idx)

    module.training_step = measured
    trainer = build_trainer(cfg)
    trainer.fit(module, datamodule=data)
    print(f"{'precision':28} {chosen_precision(cfg.trainer.precision, cfg.trainer.accelerator)}")
    for name, timer in parts.items():
        print(f"{name:28} {timer.median:.3f} s")
    bare = parts["teacher forward"].median + parts["student forward, backward"].median
    print(f"{'bare parts / step':28} {bare / parts['step'].median:.3f}")


if __name__ == "__main__":
    main()
