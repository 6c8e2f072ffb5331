"""Hidden states: at the end of each chunk, the student's last one is to be the teacher's."""

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
    channels of trained models are far larger than all others and would be all that counts. Where
    the two models differ in width, s is a linear map of the student's state, trained along.

    Reference: Minixhofer, Vulić and Ponti (2025), arXiv:2503.20083, the auxiliary loss for bytes;
    the map: Romero et al. (2015), arXiv:1412.6550.
    """

    needs_teacher: ClassVar[bool] = True
    needs_hidden: ClassVar[bool] = True

    def __init__(self, *, projection: str | None, learning_rate: float | int):
        """Sets up the objective.

        Args:
            projection: ``linear`` compares a trained linear map of the student's states, for models
                of different widths; None compares the states themselves.
            learning_rate: Peak learning rate of the map, which starts as a random rotation; it has
                no effect without a map.
        """
        super().__init__()
        if projection not in (None, "linear"):
            raise ValueError(
                f"objective.hidden_states.projection is {projection!r}: expected linear or null."
            )
        if not learning_rate > 0:
            raise ValueError(
                f"objective.hidden_states.learning_rate is {learning_rate}: expected above 0."
            )
        self.projection = projection
        self.learning_rate = None if projection is None else float(learning_rate)
        self.map: nn.Linear | None = None

    def setup(self, pair: PairFacts) -> None:
        """Makes the map from the student's width to the teacher's, or checks that none is needed.

        Args:
            pair: The widths.

        Raises:
            ValueError: If the widths differ and there is to be no map.
        """
        student, teacher = pair.student.hidden_size, pair.teacher.hidden_size
        if self.projection == "linear":
            self.map = nn.Linear(student, teacher, bias=False)
            # lengths are kept, as far as the widths allow: the loss starts at the states' own scale
            nn.init.orthogonal_(self.map.weight)
        elif student != teacher:
            raise ValueError(
                f"the hidden states of a student {student} wide can't be compared with those of a "
                f"teacher {teacher} wide. Take objective.hidden_states.projection=linear, or an "
                "objective without hidden_states."
            )

    def weight(self, signal: Supervision) -> Float[Tensor, ""]:
        """Number of chunks.

        Args:
            signal: The signal; only its mask is read.

        Returns:
            The count.
        """
        return signal.chunk_mask.sum().float()

    def forward(self, signal: Signal) -> Float[Tensor, ""]:
        """Sum over chunks of the mean over channels of the scaled squared difference.

        Args:
            signal: The signal, with hidden states on both sides.

        Returns:
            The total, without a unit.
        """
        student = signal.student.hidden[signal.chunk_mask]
        if self.map is not None:
            with torch.autocast(student.device.type, enabled=False):
                student = self.map(student.float())
        difference = student - signal.teacher.hidden[signal.chunk_mask]
        # a channel on which the teacher is 0 throughout has no scale, and says nothing
        scale = signal.teacher_mean_square.clamp_min(1e-12)
        return (difference.square() / scale).mean(dim=-1).sum()
