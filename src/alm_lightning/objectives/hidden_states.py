"""Hidden states: at the end of each chunk, the student's last one is pulled to the teacher's."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from alm_lightning.likelihood.signal import Signal, Supervision
from alm_lightning.objectives.objective import Objective
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts


class HiddenStates(Objective):
    r"""Squared distance of the last hidden states at the last token of each chunk.

    .. math:: \frac1{|C|} \sum_{c} \frac1d \sum_{i=1}^{d} \frac{(s_{c,i} - t_{c,i})^2}{m_i}

    where m_i is the teacher's mean square of channel i over the chunks of the optimizer step: a few
    channels of trained models are far larger than all others and would dominate the sum. Where the
    two models differ in width, s is a linear map of the student's state, which is trained too.

    Reference: Minixhofer, Vulić and Ponti (2025), arXiv:2503.20083, the auxiliary loss for bytes;
    the map: Romero et al. (2015), arXiv:1412.6550.

    Args:
        projection: ``linear`` compares a trained linear map of the student's states, for models
            of different widths; None compares the states themselves.
        learning_rate: Peak learning rate of the map, which starts as a random rotation; it has
            no effect without a map.
        fades_by: By which share of the steps the term's weight falls to 0, in (0, 1]: it helps at
            the start of a run, and is in the way later. None: it stays.
    """

    needs_teacher: ClassVar[bool] = True
    needs_tokens: ClassVar[bool] = False
    needs_hidden: ClassVar[bool] = True

    def __init__(
        self,
        *,
        projection: str | None,
        learning_rate: float | int,
        fades_by: float | int | None,
    ):
        super().__init__()
        if projection not in (None, "linear"):
            raise ValueError(
                f"HiddenStates: projection is {projection!r}: expected 'linear' or None (null)."
            )
        self._check_positive(learning_rate=learning_rate)
        if fades_by is not None and not 0 < fades_by <= 1:
            raise ValueError(
                f"HiddenStates: fades_by is {fades_by}: expected a share of the steps, above 0 and "
                "at most 1, or None (null) for a term that stays."
            )
        self.fades_by = None if fades_by is None else float(fades_by)
        self.projection = projection
        self.learning_rate = None if projection is None else float(learning_rate)
        self.map: nn.Linear | None = None

    def setup(self, pair: PairFacts) -> None:
        """Makes the map between the two widths, or raises a ValueError where one is missing."""
        student, teacher = pair.student.hidden_size, pair.teacher.hidden_size
        if self.projection == "linear":
            self.map = nn.Linear(student, teacher, bias=False)
            # lengths are kept, as far as the widths allow: the loss starts at the states' own scale
            nn.init.orthogonal_(self.map.weight)
        elif student != teacher:
            raise ValueError(
                f"the student's hidden states are {student} wide and the teacher's {teacher} wide: "
                "they can't be compared as they are. Take "
                'HiddenStates(projection="linear"), or an objective without HiddenStates.'
            )

    def weight(self, signal: Supervision) -> Float[Tensor, ""]:
        """Number of chunks."""
        return signal.chunk_mask.sum().float()

    def forward(self, signal: Signal) -> Float[Tensor, ""]:
        """Sum over chunks of the mean over channels of the scaled squared difference."""
        student = signal.student.hidden
        if self.map is not None:
            with torch.autocast(student.device.type, enabled=False):
                student = self.map(student.float())
        difference = student - signal.teacher.hidden
        # a channel in which the teacher is always 0 has no scale: keep the division finite
        scale = signal.teacher_mean_square.clamp_min(1e-12)
        # chosen by their values, and not by an index whose size a GPU would be waited for
        chunks = (difference.square() / scale).mean(dim=-1)
        return chunks.masked_fill(~signal.chunk_mask, 0.0).sum()
