"""Small models in float32: losses on the card are those on the CPU, and a run can be resumed."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import lightning as L
import torch

from alm_lightning.app.train.build import plan_of
from alm_lightning.distillation.quiet import quiet_warnings
from on_gpu import device
from on_gpu.recipes import CONF, Built, Settings, built, composed, given_model, text_overrides
from on_gpu.rows import Row, one_line

TOLERANCE = 1e-3
"""Of a loss, relative where it is above 1."""
RESUMED = 0.01
"""The most that the weights of a resumed run may be off, as a share of the way that they went. On
a card the order of sums varies, and Adam makes steps of one size out of gradients of any."""
CARD = ["trainer=gpu", "trainer.devices=1"]
WITH_SPEED = "alm_next_token_hidden"
"""The objective that is computed with compiled blocks and the like as well."""
SMALL = [
    *("tokenizer=folder", "embeddings=fvt", "adapter=full", "chat=all"),
    *("student=gemma2_2b_it", "student.dtype=float32", "trainer.precision=32-true"),
    *("budget.batch_size=4", "budget.micro_batch_size=2", "budget.evaluation_windows=2"),
    *("budget.student_length=64", "budget.teacher_length=64"),
    *("++trainer.enable_progress_bar=false", "logger=csv"),
]


def small(
    settings: Settings,
    folder: Path,
    overrides: Sequence[str],
    callbacks: Sequence[str] = (),
    **changes: int,
) -> Built:
    """A run of small models, up to its first step, with some of the default's callbacks.

    Sizes of the models can be changed, as transformers names them.
    """
    settings = dataclasses.replace(settings, quick=True, tokenizers={}, text=None)
    place = folder / "small"
    place.mkdir(exist_ok=True)
    new = settings.tokenizer("qwen2", place)
    own = [*SMALL, f"tokenizer.source.path={new}", f"cache_dir={place / 'cache'}"]
    cfg = composed([*own, *text_overrides(settings, place), *overrides])
    cfg.logger = {}
    cfg.callbacks = {name: node for name, node in cfg.callbacks.items() if name in callbacks}
    plan = plan_of(cfg)
    path = settings.tokenizer("gemma2", place)
    kind = cfg.trainer.accelerator
    model = given_model("gemma2_2b", path, cfg.student, kind, tiny=True, **changes)
    pair = dataclasses.replace(plan.pair, student=model, teacher=model)
    return built(cfg, dataclasses.replace(plan, pair=pair))


SAMPLED = ("policy_gradient",)
"""Objectives of what the student has just sampled, which is not the same on another device."""


def losses(settings: Settings, folder: Path, overrides: Sequence[str]) -> dict[str, float]:
    """The terms' values in the first step of a run."""
    one = [
        "budget.steps=1",
        "++trainer.enable_checkpointing=false",
        f"paths.output_dir={folder / 'small_run'}",
    ]
    run = small(settings, folder, [*one, *overrides])
    run.trainer.fit(run.module, datamodule=run.data)
    return {name: float(value) for name, value in run.module.last_result.losses.items()}


def losses_rows(settings: Settings, folder: Path) -> Iterator[Row]:
    """For each objective, the largest difference between its terms here and there.

    Without a card there is no other place: one micro-batch is then compared with two, which share
    what losses are divided by.
    """
    quiet_warnings()
    is_card = device.KIND == "cuda"
    # compiled blocks would be compiled again for each objective
    elsewhere = [*CARD, "speed=none"] if is_card else ["trainer=cpu", "budget.micro_batch_size=4"]
    quicker = CARD if is_card else ["trainer=cpu", "speed.checkpointing=true"]
    yield compared(WITH_SPEED, quicker, "speed of the card's default", settings, folder)
    for file in sorted((CONF / "objective").glob("*.yaml")):
        if file.stem not in SAMPLED:
            yield compared(file.stem, elsewhere, file.stem, settings, folder)


def compared(
    objective: str, elsewhere: Sequence[str], name: str, settings: Settings, folder: Path
) -> Row:
    """How far the terms of an objective are apart, on the CPU and elsewhere."""
    what = f"{name}: largest difference"
    chosen = f"objective={objective}"
    try:
        here = losses(settings, folder, ["trainer=cpu", chosen])
        there = losses(settings, folder, [*elsewhere, chosen])
    except Exception as error:
        return Row("losses", what, error=one_line(error))
    if not any(here.values()):
        # terms without anything to compare would agree wherever they are
        return Row("losses", what, error=f"all terms are 0: {here}")
    apart = max(abs(there[n] - v) / max(1.0, abs(v)) for n, v in here.items())
    # not greater: a nan is refused, too
    wrong = None if apart <= TOLERANCE else f"{apart:.2e} apart: {here} and {there}"
    return Row("losses", what, apart, error=wrong)


class StopAfter(L.Callback):
    """Ends a run after its first step."""

    def on_train_batch_end(self, trainer, *args) -> None:
        trainer.should_stop = True


def resume_rows(settings: Settings, folder: Path) -> list[Row]:
    """Two steps at once, and one step that is stopped and continued: the same weights."""
    quiet_warnings()
    place = [*CARD, "speed=none"] if device.KIND == "cuda" else ["trainer=cpu"]
    # the objective with most parts, at a rate that moves weights within two steps
    shared = [
        *(*place, "objective=alm_next_token_hidden", "objective.alm.threshold=0.01"),
        *("budget.steps=2", "budget.checkpoint_every=1", "budget.learning_rate=1e-2"),
    ]

    def run(name: str, *overrides: str, stop: bool = False, checkpoint: Path | None = None):
        output = f"paths.output_dir={folder / name}"
        made = small(settings, folder, [*shared, output, *overrides], ["checkpoint"])
        start = weights(made)
        if stop:
            made.trainer.callbacks.append(StopAfter())
        made.trainer.fit(made.module, datamodule=made.data, ckpt_path=checkpoint)
        return start, weights(made), made.trainer.global_step

    start, whole, _ = run("whole")
    _, _, stopped_at = run("stopped", stop=True)
    _, resumed, ended_at = run("resumed", checkpoint=folder / "stopped/checkpoints/last.ckpt")
    if (stopped_at, ended_at) != (1, 2):
        raise RuntimeError(f"runs ended at steps {stopped_at} and {ended_at}: expected 1 and 2.")
    apart = float((resumed - whole).norm() / (whole - start).norm())
    wrong = None if apart <= RESUMED else f"{apart:.2e} of the way: expected {RESUMED} at most"
    return [Row("resume", "weights off, as a share of their way", apart, error=wrong)]


def weights(run: Built) -> torch.Tensor:
    """All trained weights, on the CPU."""
    return torch.cat([p.detach().cpu().flatten() for p in run.module.trained_parameters()])
