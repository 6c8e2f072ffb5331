"""The whole of a run: read, load, measure, train, measure again."""

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import lightning as L

from alm_lightning.corpus.sources.source import AnyDocument
from alm_lightning.data.datamodule import DistillDataModule
from alm_lightning.distillation.data import DataPlan, Documents
from alm_lightning.distillation.figures import (
    Figures,
    callbacks_of,
    check_teacher,
    figures_by_set,
    of_teacher,
)
from alm_lightning.distillation.models import PairPlan
from alm_lightning.distillation.own_answers import check_own_answers
from alm_lightning.distillation.stores import SeveralScores, StoredScores
from alm_lightning.distillation.wandb_runs import failed_runs_ended
from alm_lightning.models.pair import Scorer
from alm_lightning.objectives.combine import Balance
from alm_lightning.objectives.objective import Objective
from alm_lightning.scores.ensemble import StoredTeachers, Teaching
from alm_lightning.training.callbacks import SaveWhenStopped
from alm_lightning.training.memory import forget_peak_memory
from alm_lightning.training.module import DistillModule
from alm_lightning.training.on_policy import OnPolicy, OwnAnswers, Prompts, VllmSettings
from alm_lightning.training.optimizers import OptimizerFactory
from alm_lightning.training.resume import check_continued, saved_config
from alm_lightning.training.sharding import ShardedStrategy

log = logging.getLogger(__name__)
EXIT_CODES = {number.name: 128 + number for number in SaveWhenStopped.SIGNALS}
"""What a shell expects of a program that a signal ended: 128 and the signal's number."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that a run is made of, before anything large is read.

    Attributes:
        pair: How student and teacher are made.
        data: How text becomes batches.
        objective: The terms of the loss, by name.
        balance: How the terms are weighed.
        optimizer: Makes the optimizer from groups of parameters.
        schedule: Factor on the learning rate, from the number of steps done.
        gradient_clip: Largest norm of the gradient; None clips nothing.
        trainer: Makes the trainer, after the models are loaded.
        accelerator: Where the models will compute, as Lightning names it.
        config: The settings, as plain containers: for checkpoints and loggers.
        checkpoint: A checkpoint to continue from.
        on_policy: How many of a step's sequences are the student's own answers; None for none.
    """

    pair: PairPlan
    data: DataPlan
    objective: Mapping[str, Objective]
    balance: Balance
    optimizer: OptimizerFactory
    schedule: Callable[[int], float]
    gradient_clip: float | None
    trainer: Callable[[], L.Trainer]
    accelerator: str
    config: Mapping[str, object]
    checkpoint: str | Path | None = None
    on_policy: OnPolicy | None = None

    def __post_init__(self) -> None:
        """Refuses an objective without terms, or one that reads more than a store has."""
        if not self.objective:
            raise ValueError("the objective has no terms: take objective=next_byte_hidden, say.")
        if isinstance(self.pair.teacher, StoredScores | SeveralScores):
            self.pair.teacher.check_objective(self.objective)
            self.data.check_stores(self.pair.teacher.stores)
        check_own_answers(
            self.on_policy,
            pair=self.pair,
            data=self.data,
            objective=self.objective,
            accelerator=self.accelerator,
        )
        others = [name for name, term in self.objective.items() if not term.is_distance]
        # a run that was begun so goes on so
        if self.balance.compares_losses and others and self.checkpoint is None:
            raise ValueError(
                "balance=gradnorm compares how far losses have fallen, and that of "
                f"{', '.join(others)} is no distance: it may be negative. Take balance=gradmag or "
                "fixed."
            )

    def check_inputs(self) -> None:
        """Refuses models that are not there, and another run's checkpoint, before text is read.

        Raises:
            FileNotFoundError: A model or tokenizer is not where it should be.
            ValueError: The checkpoint is of a run with other settings.
        """
        self.pair.check_places()
        if self.checkpoint is not None and Path(self.checkpoint).is_file():
            # of a folder, whose weights are spread, each process reads its share later
            check_continued(saved_config(Path(self.checkpoint)), self.config)

    def module(self, student: Scorer, teacher: Teaching) -> DistillModule:
        """Student, teacher and objective, put together.

        Args:
            student: The student.
            teacher: The teacher, or several.

        Returns:
            The LightningModule.
        """
        return DistillModule(
            student=student,
            teacher=teacher,
            objective=self.objective,
            balance=self.balance,
            optimizer=self.optimizer,
            schedule=self.schedule,
            gradient_clip=self.gradient_clip,
            config=self.config,
            keep_graphs=self.pair.speed.keep_graphs,
        )

    def own_answers(
        self, documents: Documents, data: DistillDataModule, student: Scorer, trainer: L.Trainer
    ) -> OwnAnswers | None:
        """What puts the student's own answers into the steps of a run.

        Args:
            documents: What is trained on.
            data: Its windows.
            student: The student.
            trainer: The trainer, for ranks and steps.

        Returns:
            None where a run has no such answers.

        Raises:
            ValueError: No document gives a prompt, or vLLM is to sample from weights that are
                spread over ranks.
        """
        settings = self.on_policy
        if settings is None or not settings.share:
            return None
        if isinstance(trainer.strategy, ShardedStrategy) and isinstance(
            settings.engine, VllmSettings
        ):
            raise ValueError(
                "on_policy/engine=vllm needs whole weights, and they are spread over ranks. Take "
                "on_policy/engine=transformers, or trainer=gpu."
            )
        prompts = Prompts(
            cast(Sequence[AnyDocument], documents.train),
            pairing=data.pairing,
            prompt_bytes=settings.prompt_bytes,
            max_new_tokens=settings.max_new_tokens,
        )
        return OwnAnswers(
            settings,
            prompts=prompts,
            engine=settings.engine.engine(
                student, settings, max_length=data.pairing.student_length
            ),
            collator=data.collator,
            batch_size=data.batch_size,
            num_steps=data.num_steps,
            seed=data.seed,
            world_size=trainer.world_size,
        )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A finished run.

    Attributes:
        student: The trained student.
        teacher: The teacher, or a store of what it said, or several.
        documents: What was trained and evaluated on.
        trainer: The trainer, after the run.
        bad_documents: Documents that were left out, by kind.
        before: Figures before training, by evaluation set; of several teachers, those beside each
            are by ``<set>@<label>``.
        after: The same after training.
        micro_batch_size: Sequences of a forward pass.
        num_teacher_tokens: Tokens that teachers have read in training, over all ranks and those
            before a resume included; None where the checkpoint did not know.
        seconds: Of the whole run.
    """

    student: Scorer
    teacher: Teaching
    documents: Documents
    trainer: L.Trainer
    bad_documents: Mapping[str, int]
    before: Figures
    after: Figures
    micro_batch_size: int
    num_teacher_tokens: int | None
    seconds: float


@failed_runs_ended()
def run(plan: Plan) -> Outcome:
    """Distils a teacher into a student.

    Args:
        plan: What the run is made of.

    Returns:
        Models and figures.

    Raises:
        SystemExit: If a signal asked the run to stop; a checkpoint was saved before.
    """
    started = time.perf_counter()
    forget_peak_memory()
    plan.check_inputs()
    L.seed_everything(plan.data.seed, workers=True, verbose=False)
    documents = plan.data.read()
    student, teacher = plan.pair.build(plan.accelerator)
    data = plan.data.pair(documents, student, teacher)
    module = plan.module(student, teacher)
    trainer = plan.trainer()
    data.check_processes(trainer.world_size)
    module.own_answers = plan.own_answers(documents, data, student, trainer)
    for logger in trainer.loggers:
        logger.log_hyperparams(dict(module.config))

    before = _evaluate(trainer, module, data)
    _check_teachers(before, plan.pair.teacher.name, teacher)
    trainer.fit(module, datamodule=data, ckpt_path=plan.checkpoint)
    _exit_if_stopped(trainer)
    after = _evaluate(trainer, module, data)
    # of weights that are spread over processes, the first one gets copies
    student, teacher = module.whole_pair()
    return Outcome(
        student=student,
        teacher=teacher,
        documents=documents,
        trainer=trainer,
        bad_documents=data.bad_documents,
        before=before,
        after=after,
        micro_batch_size=data.collator.micro_batch_size,
        num_teacher_tokens=module.num_teacher_tokens,
        seconds=time.perf_counter() - started,
    )


def _evaluate(trainer: L.Trainer, module: DistillModule, data: DistillDataModule) -> Figures:
    trainer.validate(module, datamodule=data, verbose=False)
    # callback_metrics holds exact values by name; what validate returns is split by loader
    names = list(module.figure_sets(data.evaluation_names))
    return figures_by_set(trainer.callback_metrics, names)


def _check_teachers(before: Figures, name: str, teaching: Teaching) -> None:
    if not isinstance(teaching, StoredTeachers):
        check_teacher(before, name, teaching.view.num_tokens)
        return
    for label, teacher in zip(teaching.labels, teaching.each, strict=True):
        check_teacher(of_teacher(before, label), label, teacher.view.num_tokens)


def _exit_if_stopped(trainer: L.Trainer) -> None:
    for callback in callbacks_of(trainer):
        if isinstance(callback, SaveWhenStopped) and callback.stopped_by is not None:
            log.warning(
                "stopped by %s after step %d of %d. Continue with ckpt_path=%s",
                callback.stopped_by,
                trainer.global_step,
                trainer.max_steps,
                callback.path,
            )
            sys.exit(EXIT_CODES.get(callback.stopped_by, 1))
