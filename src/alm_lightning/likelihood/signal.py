"""The signal: all that an objective may see. Numbers; no models, tokenizers or configuration."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from alm_lightning.likelihood.distributions import Distributions, Tokens


@dataclass(frozen=True)
class SideSignal:
    """What one model says of a batch.

    Attributes:
        token_logprobs: Log-probability of the token at each position given all before it, nats;
            0.0 where there is none (the first position, padding).
        chunk_logprobs: Log-likelihood L(c) of each chunk, nats.
        boundary_logprobs: Log-mass b(c) on boundary tokens right after each chunk, nats; 0.0 after
            a chunk that is structure, which is a boundary by itself.
        hidden: Last hidden state at the last token of each chunk, if an objective asked for it.
        distributions: Whole next-token distributions, if an objective asked for them.
    """

    token_logprobs: Float[Tensor, "batch pos"]
    chunk_logprobs: Float[Tensor, "batch chunk"]
    boundary_logprobs: Float[Tensor, "batch chunk"]
    hidden: Float[Tensor, "batch chunk hidden"] | None = None
    distributions: Distributions | None = None


@dataclass(frozen=True)
class Signal:
    """What both models say of a batch.

    Attributes:
        student: The student's side; None while only weights are asked for.
        teacher: The teacher's side; None where no objective needs a teacher.
        chunk_mask: True for a chunk of the row, False for padding.
        chunk_ends_run: True for a chunk that is not merged with the next one, whatever passes:
            another document, or something that is not trained on, comes between.
        target_mask: True for a student token that the next-token loss predicts.
        teacher_mean_square: Mean square of each channel of the teacher's hidden states over the
            chunks of the whole optimizer step, on all ranks, if an objective asked for them.
        student_tokens: The student's tokens, if an objective asked for distributions.
        teacher_tokens: The teacher's tokens, likewise.
    """

    student: SideSignal | None
    teacher: SideSignal | None
    chunk_mask: Bool[Tensor, "batch chunk"]
    chunk_ends_run: Bool[Tensor, "batch chunk"]
    target_mask: Bool[Tensor, "batch student_pos"]
    teacher_mean_square: Float[Tensor, " hidden"] | None = None
    student_tokens: Tokens | None = None
    teacher_tokens: Tokens | None = None
