"""The LightningModule: wraps student, teacher and objective. It holds no mathematics."""

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from alm_lightning.data.batch import DistillBatch
from alm_lightning.data.datamodule import DistillDataModule
from alm_lightning.models.pair import Scorer, Teacher
from alm_lightning.models.structure import last_matrix, layers_of
from alm_lightning.objectives.combine import Balance
from alm_lightning.objectives.each_teacher import OfEachTeacher
from alm_lightning.objectives.objective import Objective
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, SideFacts
from alm_lightning.scores.ensemble import Teaching, teachers_of
from alm_lightning.training.checkpointed import CheckpointedModule
from alm_lightning.training.counts import StepCounts, counts_of
from alm_lightning.training.diverged import Diverged
from alm_lightning.training.evaluated import EvaluatedModule
from alm_lightning.training.micro_batch import rows_that_fit
from alm_lightning.training.on_policy import AnswerCounts, OwnAnswers
from alm_lightning.training.optimizers import OptimizerFactory
from alm_lightning.training.sharding import ShardedStrategy, SpreadPair
from alm_lightning.training.step import DistillStep, StepResult
from alm_lightning.training.teacher_sides import SidesOfAll


class DistillModule(EvaluatedModule, CheckpointedModule):
    """Distils a frozen teacher into a student.

    Optimization is manual, since one batch of the loader is one optimizer step, cut into
    micro-batches: the weights that losses are divided by span all of them. A batch of the loader is
    therefore a list of `DistillBatch`.

    Args:
        student: The student; all of its parameters that require a gradient are trained.
        teacher: The teacher; frozen here, and kept out of checkpoints. A student with low-rank
            adapters may have its parameters, as frozen weights of its own modules. Or a store of
            what it said, or several stores.
        objective: The terms of the loss, by name.
        balance: How the terms are weighed.
        optimizer: Makes the optimizer from groups of parameters.
        schedule: Factor on the learning rate, from the number of steps done.
        gradient_clip: Largest norm of the gradient; None clips nothing.
        config: The resolved configuration, as plain containers, stored in checkpoints.
        keep_graphs: Whether graphs of all micro-batches are held where norms are measured, in place
            of a second forward pass.
    """

    def __init__(
        self,
        *,
        student: Scorer,
        teacher: Teaching,
        objective: Mapping[str, Objective],
        balance: Balance,
        optimizer: OptimizerFactory,
        schedule: Callable[[int], float],
        gradient_clip: float | None,
        config: Mapping,
        keep_graphs: bool = False,
    ):
        super().__init__()
        if gradient_clip is not None and not gradient_clip > 0:
            raise ValueError(
                f"gradient_clip is {gradient_clip}: expected a norm above 0, or null for none."
            )
        if objective and all(term.fades_by is not None for term in objective.values()):
            raise ValueError(
                f"all terms of the objective fade out, {list(objective)}: nothing would be trained "
                "on at the end. Give it a term whose fades_by is null."
            )
        self.automatic_optimization = False
        self.student = student.model
        teachers = teachers_of(teacher)
        self.objective = nn.ModuleDict(
            {
                # a term of several teachers is one term: there is one loss, and one balance
                name: OfEachTeacher(term, len(teachers))
                if len(teachers) > 1 and term.needs_teacher
                else term
                for name, term in objective.items()
            }
        )
        self.balance = balance
        self.balance.setup(list(objective))
        self.make_optimizer, self.schedule = optimizer, schedule
        self.gradient_clip, self.config = gradient_clip, dict(config)
        self.keep_graphs = keep_graphs
        self._student_scorer = student
        # a scorer is no module: Lightning neither trains nor saves nor moves what is in it
        self._teacher_scorer = teacher
        teacher.freeze()
        self._teacher_sides = SidesOfAll(teacher)
        self._spread: SpreadPair | None = None
        pairs = [PairFacts(_facts(student), _facts(each)) for each in teachers]
        for term in self.objective.values():
            if isinstance(term, OfEachTeacher):
                term.setup_each(pairs)
            else:
                term.setup(pairs[0])
        self.last_result: StepResult | None = None
        self.own_answers: OwnAnswers | None = None
        self.last_counts = StepCounts()
        self.num_teacher_tokens = 0

    def setup(self, stage: str) -> None:
        """Puts the teacher where the student will be.

        Args:
            stage: Not read.

        Raises:
            ValueError: If the student's frozen weights can't be computed with in this precision.
        """
        # this module is moved only after this hook; parameters that both models have move once
        if self._has_whole_teacher:
            self._teacher_scorer.to(self.trainer.strategy.root_device)
        dtype = next(iter(layers_of(self.student).parameters()), torch.empty(0)).dtype
        if self.trainer.precision == "32-true" and dtype != torch.float32:
            raise ValueError(
                f"trainer.precision is 32-true, but the student's frozen weights are {dtype}. Take "
                "student.dtype=float32, or trainer.precision=bf16-mixed."
            )

    @property
    def _has_whole_teacher(self) -> bool:
        strategy = self.trainer.strategy
        return not (isinstance(strategy, ShardedStrategy) and strategy.shard_teacher)

    def configure_model(self) -> None:
        """Spreads the models over ranks, once, under a strategy that asks for it."""
        strategy = self.trainer.strategy
        if not isinstance(strategy, ShardedStrategy) or self._spread is not None:
            return
        if self.keep_graphs:
            raise ValueError(
                "speed.keep_graphs is true, and weights are spread over ranks: what a forward pass "
                "gathers is given back before the next one. Take speed.keep_graphs=false."
            )
        if self.trainer.validate_loop.inference_mode:
            raise ValueError(
                "the trainer validates in inference mode, and what is gathered there can't be "
                "trained on. Take trainer=fsdp, or Trainer(inference_mode=False)."
            )
        self._spread = SpreadPair(
            self._student_scorer, self._teacher_scorer, list(self.objective.values()), strategy
        )
        self._student_scorer = self._spread.student.scorer
        self._teacher_scorer = self._spread.teacher_scorer
        self._teacher_sides = SidesOfAll(self._teacher_scorer)

    def whole_pair(self) -> tuple[Scorer, Teaching]:
        """Student and teacher as a single process has them, after a run. Every rank must call.

        Returns:
            Both; of models that are spread, copies on the CPU of the first rank, while other ranks
            get what they hold.
        """
        if self._spread is None:
            return self._student_scorer, self._teacher_scorer
        return self._spread.whole()

    def on_fit_start(self) -> None:
        """Binds the step to the devices and ranks of this run."""
        self._teacher_scorer.to(self.device)
        if self.own_answers is not None:
            self.own_answers.rank = self.trainer.global_rank
            if self._spread is not None:
                self.own_answers.while_sampling = self._spread.student.all_gathered
        # fit leaves a model from from_pretrained in eval mode; nothing here has dropout to miss,
        # but a student that has must be trained with it
        self.student.train()
        self.step = DistillStep(
            student=self._student_scorer,
            teacher=self._teacher_scorer,
            terms=dict(self.objective),
            balance=self.balance,
            # a student without such a matrix can be trained with a balance that compares nothing
            compared_at=self._compared_at() if self.balance.compares_gradients else None,
            reduce=self._over_ranks,
            backward=self._backward,
            # gradients are averaged over ranks, and totals are to be added up
            scale=float(self.trainer.world_size),
            stand_in=None if self._spread is None else self._spread.stand_in,
            keep_graphs=self.keep_graphs,
        )

        data = self.trainer.datamodule
        if isinstance(data, DistillDataModule) and data.finds_micro_batch:
            with self.trainer.precision_plugin.train_step_context():
                data.collator.micro_batch_size = rows_that_fit(
                    data,
                    self.step,
                    remembering=[self.objective, self.balance],
                    make_optimizer=self.make_optimizer,
                    parameters=self.trained_parameters(),
                    strategy=self.trainer.strategy,
                )

    def _compared_at(self) -> Callable[[], nn.Parameter]:
        matrix = last_matrix(self.student)
        if self._spread is None:
            return lambda: matrix
        return self._spread.student.gathered(matrix)

    def _backward(self, loss: Float[Tensor, ""], *, exchange: bool) -> None:
        """Backpropagates; DDP exchanges gradients where it is told to, once a step."""
        strategy = self.trainer.strategy
        # what runs on a single device has no such method, and exchanges nothing
        blocked = None if exchange else getattr(strategy, "block_backward_sync", None)
        with blocked() if blocked is not None else nullcontext():
            self.manual_backward(loss)

    def training_step(self, batches: list[DistillBatch], batch_idx: int) -> None:
        """One optimizer step."""
        optimizer = self.optimizers()
        optimizer.zero_grad()
        if self.own_answers is not None:
            batches = self.own_answers.mixed(batches, self.trainer.global_step)
        self.last_result = self.step(batches, self._progress())
        if self._spread is not None:
            self._spread.reshard()
        limit = math.inf if self.gradient_clip is None else self.gradient_clip
        norm = nn.utils.clip_grad_norm_(self.trained_parameters(), limit, error_if_nonfinite=False)
        if isinstance(norm, DTensor):
            norm = norm.full_tensor()
        # a GPU is waited for here, once a step: cheap beside weights that are lost unnoticed
        if not math.isfinite(float(norm)):
            raise Diverged(self.trainer.global_step, float(norm), self.last_result.losses)
        self.last_counts = counts_of(
            batches,
            AnswerCounts() if self.own_answers is None else self.own_answers.counts,
            is_teacher_read=self.step.reads_teacher,
            sum_over_ranks=self._over_ranks,
            device=self.device if self.trainer.world_size > 1 else torch.device("cpu"),
        )
        self.log("train/gradient_norm", norm)
        # the schedule goes on to the next step's rate below
        self.log("train/lr", self.lr_schedulers().get_last_lr()[0])
        optimizer.step()
        self.lr_schedulers().step()
        self._log_step(self.last_result)
        self._log_counts(self.last_counts)

    def _progress(self) -> float:
        """Share of the steps that are done."""
        if self.trainer.max_steps < 1:
            # a trainer without a number of steps: nothing fades
            return 0.0
        return self.trainer.global_step / self.trainer.max_steps

    def _log_step(self, result: StepResult) -> None:
        for name, value in result.losses.items():
            self.log(f"train/{name}", value, prog_bar=True)
            self.log(f"train/balance_{name}", result.balance[name])
            self.log(f"chunks/weight_{name}", result.weights[name])
        for name, parts in result.by_teacher.items():
            for label, part in zip(self._teacher_sides.labels, parts, strict=True):
                self.log(f"train/{name}@{label}", part)
        self.log("train/loss", result.total)

    def _log_counts(self, counts: StepCounts) -> None:
        self.log_dict(counts.figures())
        if self.num_teacher_tokens is not None:
            self.num_teacher_tokens += counts.num_teacher_tokens
            self.log("train/teacher_tokens", float(self.num_teacher_tokens))

    def trained_parameters(self) -> list[nn.Parameter]:
        """What is trained: parameters of the student, and those that an objective has of its own.

        Those that require a gradient.
        """
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def configure_optimizers(self) -> dict:
        """The optimizer and the schedule, which all learning rates follow."""
        apart = [term for term in self.objective.values() if term.learning_rate is not None]
        own = {parameter for term in apart for parameter in term.parameters()}
        groups = [{"params": [p for p in self.trained_parameters() if p not in own]}]
        groups += [{"params": list(t.parameters()), "lr": t.learning_rate} for t in apart]
        optimizer = self.make_optimizer(groups)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule}}

    def transfer_batch_to_device(
        self, batch: list[DistillBatch], device: torch.device, dataloader_idx: int
    ) -> list[DistillBatch]:
        """Moves the micro-batches of a step."""
        return [part.to(device, non_blocking=True) for part in batch]


def _facts(scorer: Teacher) -> SideFacts:
    return SideFacts(scorer.view, scorer.hidden_size, scorer.embedding_size)
