"""A term of a loss that several teachers have, one after another."""

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from alm_lightning.likelihood.signal import Signal, Supervision
from alm_lightning.objectives.objective import Objective
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts

NEEDS = ("needs_teacher", "needs_tokens", "needs_hidden", "needs_distributions")
SETTINGS = ("distribution_kinds", "learning_rate", "fades_by")


class OfEachTeacher(Objective):
    """A term with one copy for each teacher: what a copy finds out is of a pair.

    Totals and weights have one entry a teacher. The loss is the sum over teachers of total by
    weight: the weighted mean of what the term is with each of them alone.

    Args:
        term: The term, before its `setup`.
        num_teachers: How many teachers there are.
    """

    def __init__(self, term: Objective, num_teachers: int):
        super().__init__()
        self.each = [copy.deepcopy(term) for _ in range(num_teachers)]
        self.copies = nn.ModuleList(self.each)
        # they are attributes of a class, and here those of the term
        vars(self).update({name: getattr(term, name) for name in (*NEEDS, *SETTINGS)})

    def setup_each(self, pairs: Sequence[PairFacts]) -> None:
        """Prepares each copy for its pair.

        Args:
            pairs: Of the student and each teacher.
        """
        for term, pair in zip(self.each, pairs, strict=True):
            term.setup(pair)

    def weights(self, views: Sequence[Supervision]) -> Float[Tensor, " teacher"]:
        """Number of units of a batch beside each teacher.

        Args:
            views: What is known of the batch beside each of them.

        Returns:
            One number a teacher, also where it counts for nothing: a document counts as much as it
            does in a run of one teacher.
        """
        found = [term.weight(view) for term, view in zip(self.each, views, strict=True)]
        return torch.stack(found)

    def totals(self, views: Sequence[Signal], shares: Sequence[float]) -> Float[Tensor, " teacher"]:
        """The term over a batch beside each teacher, times the teacher's share.

        Args:
            views: What is known of the batch beside each of them.
            shares: How much each teacher counts in it.

        Returns:
            One total a teacher.
        """
        found = [
            term(view) * share if share else _nothing(term, view)
            for term, view, share in zip(self.each, views, shares, strict=True)
        ]
        return torch.stack(found)


def _nothing(term: Objective, view: Signal) -> Float[Tensor, ""]:
    """A zero, with a gradient of zero for what the term has learned: DDP waits for one of each."""
    zero = torch.zeros((), device=view.chunk_mask.device)
    return sum((parameter.flatten()[:0].sum() for parameter in term.parameters()), start=zero)


def total_of(
    term: Objective, views: Sequence[Signal], shares: Sequence[float]
) -> Float[Tensor, "..."]:
    """The total of a term over a batch.

    Args:
        term: The term.
        views: What is known of the batch beside each teacher.
        shares: How much each teacher counts in it.

    Returns:
        A scalar, the student's alone or of one teacher; or one total a teacher.
    """
    if isinstance(term, OfEachTeacher):
        return term.totals(views, shares)
    total: Tensor = term(views[0])
    return total


def weight_of(term: Objective, views: Sequence[Supervision]) -> Float[Tensor, "..."]:
    """The weight of a term in a batch.

    Args:
        term: The term.
        views: What is known of the batch beside each teacher.

    Returns:
        A scalar, or one weight a teacher, as `total_of`.
    """
    return term.weights(views) if isinstance(term, OfEachTeacher) else term.weight(views[0])
