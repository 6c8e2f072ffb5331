"""What a training step costs beyond its bare parts, in one run.

    python benchmarks/step.py [experiment=...] [group=option] [key=value]

Bare parts: the teacher's forward pass with whole logits, and the student's forward and backward
pass with a plain cross-entropy on the same batch, by transformers' own means. The ratio
(bare parts) / (full step) is 1 for a step that costs nothing beyond them. Parts and steps
alternate, and the medians are compared, since the machine may be shared.
"""

import statistics
import sys
import time
from pathlib import Path

import hydra
import torch

from alm_lightning.app.build import (
    build_corpora,
    build_data,
    build_module,
    build_objective,
    build_scorers,
    build_trainer,
)
from alm_lightning.app.log import quiet_warnings
from alm_lightning.data.batch import DistillBatch

ROUNDS = 12
CONF = Path(__file__).resolve().parents[1] / "conf"


class Timer:
    """Seconds of what happens within."""

    def __init__(self):
        self.seconds: list[float] = []

    def __enter__(self):
        self.started = time.perf_counter()

    def __exit__(self, *error):
        self.seconds.append(time.perf_counter() - self.started)

    @property
    def median(self) -> float:
        # the first two rounds pay for memory that later ones find allocated
        return statistics.median(self.seconds[2:])


def bare_student(model, batch: DistillBatch) -> None:
    labels = batch.student_ids.masked_fill(~batch.student_mask, -100)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(
            input_ids=batch.student_ids,
            attention_mask=batch.student_mask.long(),
            labels=labels,
            use_cache=False,
        ).loss
    loss.backward()
    model.zero_grad(set_to_none=True)


@torch.no_grad()
def bare_teacher(model, batch: DistillBatch) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        model(
            input_ids=batch.teacher_ids,
            attention_mask=batch.teacher_mask.long(),
            use_cache=False,
        )


def main() -> None:
    quiet_warnings()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = ["paths.output_dir=outputs/benchmark", "trainer=cpu"]
        cfg = hydra.compose("train", [*overrides, *sys.argv[1:]])
    cfg.callbacks, cfg.logger = {}, {}
    corpora = build_corpora(cfg)
    student, teacher = build_scorers(cfg)
    data = build_data(cfg, corpora, student, teacher)
    module = build_module(cfg, student, teacher, build_objective(cfg))

    parts = {name: Timer() for name in ("teacher forward", "student forward, backward", "step")}
    original = module.training_step

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
    cfg.budget.steps = ROUNDS
    build_trainer(cfg).fit(module, datamodule=data)
    for name, timer in parts.items():
        print(f"{name:28} {timer.median:.3f} s")
    bare = parts["teacher forward"].median + parts["student forward, backward"].median
    print(f"{'bare parts / step':28} {bare / parts['step'].median:.3f}")


if __name__ == "__main__":
    main()
