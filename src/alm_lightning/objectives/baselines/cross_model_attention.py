"""Cross-model attention: each model's hidden states, aligned with the other's tokens."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from alm_lightning.likelihood.distributions import Distributions
from alm_lightning.likelihood.signal import Supervision
from alm_lightning.objectives.chunks.positions import documents
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts
from alm_lightning.shapes import NO_CHUNK


class CrossModelAttention(nn.Module):
    r"""Trained projectors, and attention between the tokens of two tokenizations of one text.

    A token is represented by the pair [e(before); e(token)]: the embeddings of the token that a
    model reads and of the one that it predicts from it. With h the hidden state from which the
    token is predicted:

    .. math:: A = \frac{P_q([e_S; e_S']) \, N([e_T; e_T'])^\top}{\sqrt{2 d}}, \quad
       h_{T \to S} = \mathrm{softmax}(A) \, P_{T \to S}(N(h_T) + N(e_T')), \quad
       h_{S \to T} = \mathrm{softmax}(A^\top) \, P_{S \to T}(h_S)

    where d is the width of the teacher's embeddings, and N divides a vector by the standard
    deviation of its channels.

    Reference: Zhang et al. (2024), "Dual-Space Knowledge Distillation for Large Language Models",
    arXiv:2406.17328, section 3.3.

    Args:
        pair: The widths. Those of the teacher's embeddings and of its hidden states must be equal,
            since the two are added.
    """

    def __init__(self, pair: PairFacts):
        super().__init__()
        student, teacher = pair.student, pair.teacher
        if teacher.hidden_size != teacher.embedding_size:
            raise ValueError(
                "DSKD adds the teacher's input embeddings to its hidden states, but the "
                f"first are {teacher.embedding_size} wide and the second {teacher.hidden_size}. "
                "Take another teacher, or another objective."
            )
        self.query = nn.Linear(2 * student.embedding_size, 2 * teacher.embedding_size)
        self.to_student = nn.Linear(teacher.hidden_size, student.hidden_size)
        self.to_teacher = nn.Linear(student.hidden_size, teacher.hidden_size)

    def forward(
        self,
        student: Distributions,
        teacher: Distributions,
        sees: Bool[Tensor, "batch student_pos teacher_pos"],
    ) -> tuple[
        Float[Tensor, "batch student_pos student_hidden"],
        Float[Tensor, "batch teacher_pos teacher_hidden"],
    ]:
        """The teacher's states in the student's space, and the student's in the teacher's.

        They are states from which the token at each position is predicted, in the projectors'
        dtype; of no meaning at a position that sees nothing. The student's embeddings are constants
        here. `sees` says which pairs of tokens attend to each other.
        """
        with torch.autocast(sees.device.type, enabled=False):
            dtype = self.query.weight.dtype
            keys = _normalised(_pairs(teacher.embedded).to(dtype))
            queries = self.query(_pairs(student.embedded.detach()).to(dtype))
            scores = queries @ keys.mT / math.sqrt(keys.shape[-1])
            # finite: a position that sees nothing would be nan, and so would every gradient
            scores = scores.masked_fill(~sees, torch.finfo(dtype).min)
            states = _normalised(_before(teacher.hidden).to(dtype))
            states = self.to_student(states + _normalised(teacher.embedded.to(dtype)))
            in_student = scores.softmax(dim=-1) @ states
            states = self.to_teacher(_before(student.hidden).to(dtype))
            return in_student, scores.mT.softmax(dim=-1) @ states


def sees(signal: Supervision) -> Bool[Tensor, "batch student_pos teacher_pos"]:
    """Which tokens of both sides see each other: those of one document that are trained on.

    Of the student these are the tokens that the next-token loss predicts; of the teacher, and of
    what the student has sampled itself, those in a chunk, since nothing else marks what is trained
    on there.
    """
    student, teacher = signal.student_tokens, signal.teacher_tokens
    own = signal.own_rows.unsqueeze(1) & (student.chunk_ids != NO_CHUNK)
    student_used = student.has_target & (signal.target_mask | own)
    teacher_used = teacher.has_target & (teacher.chunk_ids != NO_CHUNK)
    same = documents(student).unsqueeze(2) == documents(teacher).unsqueeze(1)
    return same & student_used.unsqueeze(2) & teacher_used.unsqueeze(1)


def _before(values: Float[Tensor, "batch pos width"]) -> Float[Tensor, "batch pos width"]:
    """At each position the value of the one before; the first one's is not used."""
    return values.roll(1, dims=1)


def _pairs(embedded: Float[Tensor, "batch pos width"]) -> Float[Tensor, "batch pos both"]:
    """Embeddings of the token before each position, and of the one at it."""
    return torch.cat([_before(embedded), embedded], dim=-1)


def _normalised(values: Float[Tensor, "batch pos width"]) -> Float[Tensor, "batch pos width"]:
    """Vectors divided by the standard deviation of their channels; zeros stay zeros."""
    deviation = values.std(dim=-1, keepdim=True)
    return values / deviation.clamp_min(torch.finfo(values.dtype).eps)
