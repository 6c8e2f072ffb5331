"""One optimizer step's worth of arithmetic: global weights, balanced terms, gradients."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from alm_lightning.data.batch import DistillBatch
from alm_lightning.likelihood.signal import Signal, Supervision
from alm_lightning.models.pair import Scorer
from alm_lightning.objectives.combine import Balance, faded
from alm_lightning.objectives.each_teacher import OfEachTeacher, total_of, weight_of
from alm_lightning.objectives.objective import Objective
from alm_lightning.scores.ensemble import Teaching, teachers_of
from alm_lightning.training.beside import Asked, beside, supervision
from alm_lightning.training.nothing import nothing_of


@runtime_checkable
class Reduce(Protocol):
    """Sum or maximum of a tensor over all ranks."""

    def __call__(
        self, value: Shaped[Tensor, "..."], op: Literal["sum", "max"] = "sum"
    ) -> Shaped[Tensor, "..."]:
        """The same on every rank."""
        ...


@runtime_checkable
class Backward(Protocol):
    """Backpropagates a loss of this rank."""

    def __call__(self, loss: Float[Tensor, ""], *, exchange: bool) -> None:
        """Adds to the gradients; with `exchange`, adds up those of all ranks too."""
        ...


@dataclass(frozen=True)
class StepResult:
    """What a step reports, over all ranks and micro-batches.

    Attributes:
        losses: Value of each term.
        balance: Weight of each term.
        weights: Number of units of each term (chunks, tokens), of all teachers.
        by_teacher: Of terms that several teachers have, what each adds to the value, in order.
    """

    losses: Mapping[str, Float[Tensor, ""]]
    balance: Mapping[str, Float[Tensor, ""]]
    weights: Mapping[str, Float[Tensor, ""]]
    by_teacher: Mapping[str, Float[Tensor, " teacher"]] = field(default_factory=dict)

    @property
    def total(self) -> Float[Tensor, ""]:
        """The balanced sum of the terms."""
        products = [self.balance[name] * value for name, value in self.losses.items()]
        return sum(products[1:], start=products[0])


class DistillStep:
    """Gradients of one optimizer step, whatever the number of ranks and micro-batches.

    The teacher goes first, over all micro-batches: what divides each term (merged chunks, tokens)
    and what scales the hidden states must be known for the whole step before the first gradient is.
    With several micro-batches and a balance that asks for gradient norms, the student's forward
    pass runs twice, unless `keep_graphs`: the norms are those of the whole step, not of its first
    micro-batch.

    Ranks may have different numbers of micro-batches, or none. Gradients are exchanged in the last
    backward pass of each rank, and in no other, so that every rank makes at least one.

    Models whose weights are spread over ranks must be called equally often on all of them. There a
    rank with fewer micro-batches computes one of them again, and multiplies it with 0.

    With several teachers, a term is their weighted mean, and one term to the balance; the student
    runs once for all of them.

    Args:
        student: The student.
        teacher: The teacher, or several; not called where no term needs it.
        terms: The objective, by name.
        balance: How the terms are weighed.
        compared_at: Gives the parameter at which gradients of the terms are compared, after a
            forward pass; None for a balance that asks for no norms.
        reduce: Sum or maximum over ranks.
        backward: How a loss is backpropagated; `exchange` is True for the last one of the step.
        scale: What to multiply losses with so that the gradients of all ranks add up: the number
            of ranks where their gradients are averaged.
        stand_in: Gives any batch, for a rank without one, where models are spread over ranks; None
            where each rank has whole models.
        keep_graphs: Whether the graphs of all micro-batches are held between the measurement of
            norms and the backward passes, in place of a second forward pass.
    """

    def __init__(
        self,
        *,
        student: Scorer,
        teacher: Teaching,
        terms: Mapping[str, Objective],
        balance: Balance,
        compared_at: Callable[[], nn.Parameter] | None,
        reduce: Reduce,
        backward: Backward,
        scale: float,
        stand_in: Callable[[], DistillBatch] | None = None,
        keep_graphs: bool = False,
    ):
        self.student, self.teachers = student, teachers_of(teacher)
        self.terms, self.balance = terms, balance
        self.compared_at = compared_at
        self.reduce, self.backward, self.scale = reduce, backward, scale
        self.stand_in, self.keep_graphs = stand_in, keep_graphs
        self.active = self._active(0.0)

    def __call__(self, batches: Sequence[DistillBatch], progress: float = 0.0) -> StepResult:
        """Adds the gradients of a step to the student's parameters.

        Args:
            batches: This rank's micro-batches; none where it has no share in the step.
            progress: Share of the run's steps that are done, for terms that fade out.

        Returns:
            Losses and weights, over all ranks and micro-batches.
        """
        self.active = self._active(progress)
        device = self.student.model.device
        num_own = len(batches)
        batches = self._in_lockstep(batches)
        known = self._before_student(batches, num_own)
        zero = torch.zeros((), device=device)
        weights = {
            name: self.reduce(
                sum((weight_of(term, views) for views in known[:num_own]), start=self._none(term))
            ).clamp_min(1.0)
            for name, term in self.active.items()
        }
        shares = [1.0 if number < num_own else 0.0 for number in range(len(batches))]
        compares = self.balance.needs_norms and len(self.active) > 1
        # the only micro-batch's graph serves twice; those of several are too much, as a rule
        is_kept = len(batches) == 1 or (compares and self.keep_graphs)
        kept = list(map(self._totals, batches, known, shares)) if is_kept else None
        if compares:
            measured = self._measure(kept or map(self._totals, batches, known, shares), weights)
            balance = self.balance(*measured)
        elif self.balance.needs_norms:
            # a single term is all there is to weigh
            balance = {name: torch.ones_like(zero) for name in weights}
        else:
            balance = self.balance(dict.fromkeys(self.active, zero), {})
        balance = faded(balance, {n: term.fades_by for n, term in self.terms.items()}, progress)
        losses = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        each = kept or map(self._totals, batches, known, shares)
        for number, totals in enumerate(each, start=1):
            parts = ((balance[n] * total / weights[n]).sum() for n, total in totals.items())
            loss = sum(parts, start=zero) * self.scale
            is_last = number == len(batches)
            self.backward(self._completed(loss) if is_last else loss, exchange=is_last)
            losses = {name: losses[name] + total.detach() for name, total in totals.items()}
        if not batches:
            self.backward(self._no_loss(), exchange=True)
        parted = {
            name: (self._over_ranks(total) / weights[name]).to(total.dtype)
            for name, total in losses.items()
        }
        return StepResult(
            {name: parts.sum() for name, parts in parted.items()},
            balance,
            {name: weight.sum() for name, weight in weights.items()},
            {name: parts for name, parts in parted.items() if parts.dim()},
        )

    def _over_ranks(self, loss: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The sum over ranks, which exchange one type: a rank without text has none of its own."""
        return self.reduce(loss if loss.device.type == "mps" else loss.double())

    def _none(self, term: Objective) -> Float[Tensor, "..."]:
        """The weight of a term in no batch, of each teacher where there are several."""
        shape = (len(term.each),) if isinstance(term, OfEachTeacher) else ()
        return torch.zeros(shape, device=self.student.model.device)

    def _in_lockstep(self, batches: Sequence[DistillBatch]) -> Sequence[DistillBatch]:
        """With as many more, where models are spread, as the rank with the most has."""
        if self.stand_in is None:
            return batches
        most = torch.tensor(max(len(batches), 1), device=self.student.model.device)
        missing = int(self.reduce(most, "max")) - len(batches)
        if not missing:
            return batches
        return [*batches, *[batches[0] if batches else self.stand_in()] * missing]

    def _active(self, progress: float) -> dict[str, Objective]:
        """The terms without those that have faded out, which would cost as much as before.

        One with parameters stays: DDP waits for a gradient of each.
        """
        return {
            name: term
            for name, term in self.terms.items()
            if term.fades_by is None
            or progress < term.fades_by
            or self.balance.needs_all_terms
            or any(True for _ in term.parameters())
        }

    @property
    def reads_teacher(self) -> bool:
        """Whether a term that is active needs the teacher's signal."""
        return bool(self._readers())

    def _readers(self) -> list[Objective]:
        return [term for term in self.active.values() if term.needs_teacher]

    def _no_loss(self) -> Float[Tensor, ""]:
        """A loss of 0, with a gradient of 0 for every trained parameter."""
        return nothing_of(self.student.model, *self.terms.values())

    def _completed(self, loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """The same loss, with a gradient of 0 for an output matrix that no active term reads.

        DDP waits for a gradient of each trained parameter. Models that are spread have it already,
        and without DDP an optimizer would hold states of it for nothing.
        """
        # DDP of one process waits as well
        if self.scale == 1 and not (dist.is_available() and dist.is_initialized()):
            return loss
        asked = Asked.by(list(self.active.values()))
        if self.stand_in is not None or asked.keep_tokens or asked.keep_distributions:
            return loss
        return loss + nothing_of(self.student.model.get_output_embeddings())

    def _before_student(
        self, batches: Sequence[DistillBatch], num_own: int
    ) -> list[tuple[Supervision, ...]]:
        """What is known of each micro-batch before the student runs, beside each teacher.

        The first `num_own` of them count.
        """
        if not self.reads_teacher:
            return [(supervision(batch),) for batch in batches]
        asked = Asked.by(self._readers())
        device = self.student.model.device
        sides = [
            beside(
                teacher,
                [batch.views[number] for batch in batches],
                num_own,
                asked=asked,
                reduce=self.reduce,
                device=device,
            )
            for number, teacher in enumerate(self.teachers)
        ]
        return list(zip(*sides, strict=True))

    def _totals(
        self, batch: DistillBatch, known: Sequence[Supervision], share: float
    ) -> dict[str, Float[Tensor, "..."]]:
        """Every term's total over one micro-batch, with its graph, times 1 or 0."""
        asked = Asked.by(list(self.active.values()))
        students = self.student.views(batch.views[: len(known)], **vars(asked))
        views = [
            Signal(**vars(own), student=student)
            for own, student in zip(known, students, strict=True)
        ]
        totals = {
            name: total_of(term, views, batch.shares) * share for name, term in self.active.items()
        }
        # what has nothing to say here, such as no one-to-one chunk, has a gradient of 0, not none
        nothing = self._no_loss if self.stand_in is None else students[0].nothing
        return {n: t if t.requires_grad else nothing() for n, t in totals.items()}

    def _measure(
        self,
        parts: Iterable[Mapping[str, Float[Tensor, "..."]]],
        weights: Mapping[str, Float[Tensor, "..."]],
    ) -> tuple[dict[str, Float[Tensor, ""]], dict[str, Float[Tensor, ""]]]:
        """Value and gradient norm (at the compared layer) of each term, over the whole step."""
        if self.compared_at is None:
            raise ValueError("the balance asks for norms: expected a parameter in compared_at.")
        losses = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        gradients: dict[str, Tensor] = {}
        for totals in parts:
            compared_at = self.compared_at()
            for name, total in totals.items():
                losses[name] = losses[name] + total.detach()
                is_one = not weights[name].dim()
                (found,) = torch.autograd.grad(
                    # teachers are divided by weights of their own, and added up
                    total if is_one else (total / weights[name]).sum(),
                    compared_at,
                    retain_graph=True,
                    materialize_grads=True,
                )
                # of a block that was gathered in half precision it is in that, too
                found = found.to(torch.promote_types(found.dtype, torch.float32))
                if is_one:
                    found = found / weights[name]
                gradients[name] = gradients.get(name, 0.0) + found
            # the graph of this micro-batch goes before the next one's is made
            del total, totals
        if not gradients:
            gradients = {name: torch.zeros_like(self.compared_at()) for name in weights}
        norms = {name: self.reduce(gradient).norm() for name, gradient in gradients.items()}
        values = {n: (self._over_ranks(loss) / weights[n]).sum() for n, loss in losses.items()}
        # a balance computes in one type, and terms may have several
        return {name: value.to(norms[name].dtype) for name, value in values.items()}, norms
