"""What a store of the teacher's scores costs, and what it saves, in one run.

    python benchmarks/scores.py [experiment=...] [group=option] [key=value]
    python benchmarks/scores.py corpus=jsonl corpus.source.path=FILE windows.cut_bytes=250

Scores of each kind are written for the first documents of the corpus: bytes on disk for each byte
of text, and the time of the teacher's pass. Then gradients of the same steps, without a teacher
(`next_token`), with it, and from the store, one after another in turn: medians of `budget.steps`
steps, as multiples of `next_token`. What ten runs of a sweep take follows from these.
"""

import statistics
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import hydra
import torch

from alm_lightning.app.hydra.model_groups import register_models
from alm_lightning.app.scoring import score_corpus
from alm_lightning.app.train.build import plan_of
from alm_lightning.app.train.checks import check_settings
from alm_lightning.data.sampler import Steps
from alm_lightning.distillation.checks import chosen_precision
from alm_lightning.distillation.quiet import quiet_warnings
from alm_lightning.models.structure import last_matrix
from alm_lightning.scores.manifest import read_manifest
from alm_lightning.scores.writing import StoreWriter
from alm_lightning.training.step import DistillStep

CONF = Path(__file__).resolve().parents[1] / "conf"
DEFAULTS = [
    "paths.output_dir=outputs/benchmark",
    "trainer=cpu",
    "budget.steps=8",
    "windows.cut_bytes=250",
    "on_bad_document=skip",
]
DOCUMENTS = 8
"""Documents to train on that are scored."""
STORES = {
    "alm": ("scores.kinds=[alm]",),
    "next_byte": ("scores.kinds=[next_byte]",),
    "next_byte, every byte, float32": (
        "scores.kinds=[next_byte]",
        "scores.least_share=0",
        "scores.dtype=float32",
    ),
    "top_k, 64": ("scores.kinds=[top_k]",),
    "hidden": ("scores.kinds=[hidden]",),
}
OBJECTIVES = ("alm_next_token", "next_byte")
"""What is taught with and without the teacher's weights."""
WARM_UP = 2
NO_STORE = "teacher.scores.path=none-yet"


written: list[float] = []
"""Seconds of the writing of each store, without the loading of the teacher."""
write = StoreWriter.write


def timed(*arguments):
    started = time.perf_counter()
    found = write(*arguments)
    written.append(time.perf_counter() - started)
    return found


def composed(name: str, overrides: list[str]):
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(name, [*DEFAULTS, *overrides])


def runs(arguments: list[str]) -> dict[str, list[str]]:
    """What is composed, by name."""
    names = {"next_token": ["objective=next_token"]}
    for name in OBJECTIVES:
        names[f"{name}, teacher"] = [f"objective={name}"]
        names[f"{name}, store"] = [f"objective={name}", "teacher=scores", NO_STORE]
    return {name: [*arguments, *more] for name, more in names.items()}


class Stepper:
    """Gradients of one step after another, of one run."""

    def __init__(self, cfg):
        cfg.callbacks, cfg.logger = {}, {}
        check_settings(cfg)
        plan = plan_of(cfg)
        documents = plan.data.read()
        student, teacher = plan.pair.build(plan.accelerator)
        data = plan.data.pair(documents, student, teacher)
        self.module = plan.module(student, teacher)
        self.student = student.model.train()
        steps = Steps(
            batch_size=data.batch_size,
            first_step=0,
            num_steps=data.num_steps,
            seed=data.seed,
            rank=0,
            world_size=1,
        )
        self.batches = iter(data._loader(data.collator, **data.train.loader_arguments(steps)))
        precision = chosen_precision(cfg.trainer.precision, cfg.trainer.accelerator)
        self.is_half = precision == "bf16-mixed"
        self.step = DistillStep(
            student=student,
            teacher=teacher,
            terms=dict(self.module.objective),
            balance=self.module.balance,
            compared_at=lambda: last_matrix(student.model),
            reduce=lambda value, op="sum": value,
            backward=lambda loss, exchange: loss.backward(),
            scale=1.0,
        )
        self.num_steps = data.num_steps
        self.seconds: list[float] = []

    def __call__(self) -> None:
        batches = next(self.batches)
        torch.clear_autocast_cache()
        started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16) if self.is_half else nullcontext():
            self.step(batches)
        self.student.zero_grad(set_to_none=True)
        self.seconds.append(time.perf_counter() - started)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds[WARM_UP:])


def main() -> None:
    quiet_warnings()
    arguments = sys.argv[1:]
    register_models(CONF)
    StoreWriter.write = timed
    with tempfile.TemporaryDirectory() as folder:
        print(
            f"{'kind':34} {'bytes a byte of text':>20} {'bytes a token':>14} {'seconds a MB':>13}"
        )
        for name, settings in STORES.items():
            path = Path(folder) / name.replace(", ", "_").replace(" ", "_")
            said = [f"scores.path={path}", f"scores.documents={DOCUMENTS}", *settings]
            score_corpus(composed("score", [*said, *arguments]))
            seconds = written.pop()
            manifest = read_manifest(path)
            size = sum(size for size, _ in manifest.shards.values())
            print(
                f"{name:34} {size / manifest.text_bytes:20.2f} {size / manifest.tokens:14.1f} "
                f"{seconds * 1e6 / manifest.text_bytes:13.0f}",
                flush=True,
            )
        where = {name: Path(folder) / name.partition("_next_token")[0] for name in OBJECTIVES}
        steppers = {}
        for name, overrides in runs(arguments).items():
            objective = name.partition(",")[0]
            if NO_STORE in overrides:
                overrides = [*overrides, f"teacher.scores.path={where[objective]}"]
            steppers[name] = Stepper(composed("train", overrides))
        for _ in range(steppers["next_token"].num_steps):
            for stepper in steppers.values():
                stepper()
    base = steppers["next_token"].median
    print(f"\n{'gradients of a step':34} {'x next_token':>20}")
    for name, stepper in steppers.items():
        print(f"{name:34} {stepper.median / base:20.2f}")


if __name__ == "__main__":
    main()
