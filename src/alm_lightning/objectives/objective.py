"""What every objective is: a total over its own units, and the number of them."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from alm_lightning.likelihood.signal import Signal, Supervision
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts


class Objective(nn.Module):
    """A term of the training loss.

    A term returns a sum and, apart from it, the weight to divide it by: the module divides once, by
    the weight over all ranks and micro-batches, so that no mean depends on how a step was cut.

    Attributes:
        needs_teacher: Whether the teacher's signal must be there.
        needs_tokens: Whether log-likelihoods of tokens, chunks and boundaries must be there: on the
            student's side, and on the teacher's with `needs_teacher`. One that reads none of them
            saves a product with the output matrix.
        needs_hidden: Whether hidden states at the ends of chunks must be there, on both sides.
        needs_distributions: Whether whole next-token distributions must be there, on both sides.
        distribution_kinds: Kinds of stored scores that serve for those of the teacher, the nearest
            to them first; none for a term that reads more of it.
        needs_all_masses: Whether it reads the teacher's least masses as well, which a store may
            have left out.
        is_distance: Whether its value is at least 0, and 0 for a student that is its teacher.
        needs_own_answers: Whether it learns from answers that the student has sampled alone.
        learning_rate: Peak learning rate of the parameters that `setup` makes; None: the student's.
        fades_by: By which share of the steps the weight of the term falls to 0, in a line; None: it
            stays as the balance gives it.
    """

    needs_teacher: ClassVar[bool] = True
    needs_tokens: ClassVar[bool] = True
    needs_hidden: ClassVar[bool] = False
    needs_distributions: ClassVar[bool] = False
    distribution_kinds: ClassVar[tuple[str, ...]] = ("top_k",)
    needs_own_answers: ClassVar[bool] = False
    is_distance: bool = True
    needs_all_masses: bool = False
    learning_rate: float | None = None
    fades_by: float | None = None

    def setup(self, pair: PairFacts) -> None:
        """Prepares for a pair of student and teacher, once, before the first step.

        This is where to map one vocabulary to the other, to make parameters that are trained along,
        and to refuse (or to warn of) a pair for which the term is of no use.
        """

    def weight(self, signal: Supervision) -> Float[Tensor, ""]:
        """Number of units (chunks, tokens) in a batch, as a scalar. Needs no student."""
        raise NotImplementedError

    def forward(self, signal: Signal) -> Float[Tensor, ""]:
        """The loss, summed over the units of a batch, in nats unless the class says otherwise.

        Without any unit it is 0.
        """
        raise NotImplementedError

    def _check_positive(self, **settings: float | int) -> None:
        """Raises a ValueError for a setting that is not above 0, which includes nan."""
        for name, value in settings.items():
            if not value > 0:
                raise ValueError(f"{type(self).__name__}: {name} is {value}: expected above 0.")
