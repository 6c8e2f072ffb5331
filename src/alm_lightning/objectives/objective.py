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
        needs_hidden: Whether hidden states at the ends of chunks must be there, on both sides.
        needs_distributions: Whether whole next-token distributions must be there, on both sides.
        learning_rate: Peak learning rate of the parameters that `setup` makes; None: the student's.
    """

    needs_teacher: ClassVar[bool] = True
    needs_hidden: ClassVar[bool] = False
    needs_distributions: ClassVar[bool] = False
    learning_rate: float | None = None

    def setup(self, pair: PairFacts) -> None:
        """Learns what the two sides are, once, before the first step.

        The place to map one vocabulary to the other, to make parameters that are trained along, and
        to refuse (or to warn of) a pair on which the term has nothing to say.

        Args:
            pair: Vocabularies and widths of student and teacher.
        """

    def weight(self, signal: Supervision) -> Float[Tensor, ""]:
        """Number of units (chunks, tokens) in a batch. Needs no student.

        Args:
            signal: What is known before the student runs.

        Returns:
            A count, as a scalar.
        """
        raise NotImplementedError

    def forward(self, signal: Signal) -> Float[Tensor, ""]:
        """The loss, summed over the units of a batch.

        Args:
            signal: The signal.

        Returns:
            The total, nats unless the class says otherwise.
        """
        raise NotImplementedError
