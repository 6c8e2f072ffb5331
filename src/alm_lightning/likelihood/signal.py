"""The signal: all that an objective may see. Numbers; no models, tokenizers or configuration."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from jaxtyping import Bool, Float
from torch import Tensor

from alm_lightning.data.batch import SideTokens
from alm_lightning.data.scores import ByteShares
from alm_lightning.likelihood.distributions import Distributions, TokenDistributions

T = TypeVar("T")


def _required(value: T | None, flag: str) -> T:
    if value is None:
        raise ValueError(f"the signal lacks what an objective reads: set its {flag} to True.")
    return value


@dataclass(frozen=True)
class TokenLogprobs:
    """Log-likelihoods of a batch's own tokens under one model.

    Attributes:
        token_logprobs: Log-probability of the token at each position given all before it, nats;
            0.0 where there is none (the first position, padding), and at tokens that are in no
            chunk and not predicted either, of which nothing is asked.
        chunk_logprobs: Log-likelihood L(c) of each chunk, nats.
        boundary_logprobs: Log-mass b(c) on boundary tokens right after each chunk, nats; 0.0 after
            a chunk that is structure, which is a boundary by itself.
    """

    token_logprobs: Float[Tensor, "batch pos"]
    chunk_logprobs: Float[Tensor, "batch chunk"]
    boundary_logprobs: Float[Tensor, "batch chunk"]


@dataclass(frozen=True)
class ModelSignal:
    """What one model says of a batch.

    All of it is there on request: `token_logprobs` and the like raise a ValueError where no
    objective asked.

    Attributes:
        optional_tokens: Log-likelihoods of tokens and chunks, if an objective asked for them: read
            `token_logprobs`, `chunk_logprobs` and `boundary_logprobs`.
        optional_hidden: Last hidden state at the last token of each chunk, if an objective asked
            for it: read `hidden`.
        optional_distributions: Whole next-token distributions, if an objective asked for them: read
            `distributions`, or `token_distributions`.
        next_bytes: Distributions of the next byte in the memory of the processor, where they were
            read from a store; None where they follow from `token_distributions`.
    """

    optional_tokens: TokenLogprobs | None = None
    optional_hidden: Float[Tensor, "batch chunk hidden"] | None = None
    optional_distributions: TokenDistributions | None = None
    next_bytes: ByteShares | None = None

    @property
    def token_logprobs(self) -> Float[Tensor, "batch pos"]:
        """Those of `TokenLogprobs`, as the next two."""
        return _required(self.optional_tokens, "needs_tokens").token_logprobs

    @property
    def chunk_logprobs(self) -> Float[Tensor, "batch chunk"]:
        """Log-likelihood of each chunk, nats."""
        return _required(self.optional_tokens, "needs_tokens").chunk_logprobs

    @property
    def boundary_logprobs(self) -> Float[Tensor, "batch chunk"]:
        """Log-mass on boundary tokens right after each chunk, nats."""
        return _required(self.optional_tokens, "needs_tokens").boundary_logprobs

    @property
    def hidden(self) -> Float[Tensor, "batch chunk hidden"]:
        """Last hidden state at the last token of each chunk; a ValueError if nobody asked."""
        return _required(self.optional_hidden, "needs_hidden")

    @property
    def token_distributions(self) -> TokenDistributions:
        """Whole next-token distributions, from wherever; a ValueError if nobody asked."""
        return _required(self.optional_distributions, "needs_distributions")

    @property
    def distributions(self) -> Distributions:
        """The same with the hidden states that they are made from; a ValueError without."""
        found = self.token_distributions
        if not isinstance(found, Distributions):
            raise ValueError("an objective reads what a store of the teacher's scores lacks.")
        return found

    def nothing(self) -> Float[Tensor, ""]:
        """A zero with a gradient of zero for all that this side was computed from."""
        if self.optional_hidden is not None:
            part = self.optional_hidden
        elif self.optional_distributions is not None:
            part = self.distributions.hidden
        else:
            part = self.token_logprobs
        return part.flatten()[:0].sum()


@dataclass(frozen=True, kw_only=True)
class Supervision:
    """What is known of a batch before the student runs: tokens, masks, and the teacher's signal.

    Attributes:
        student_tokens: The student's tokens.
        teacher_tokens: The teacher's tokens.
        chunk_mask: True for a chunk of the row, False for padding.
        chunk_ends_run: True for a chunk that is not merged with the next one, whatever passes:
            another document, or something that is not trained on, comes between.
        target_mask: True for a student token that the next-token loss predicts.
        own_rows: True for a row that the student has sampled itself.
        optional_teacher: The teacher's signal, if an objective needs a teacher: read `teacher`.
        optional_mean_square: What `teacher_mean_square` gives, if an objective needs hidden states.
        optional_host: The same tokens and masks in the memory of the processor, if these are
            elsewhere: read `host`.
        found: What objectives have found out about the tokens, by a key of their own: `weight` and
            `forward` need the same, and it is to be found once a step.
    """

    student_tokens: SideTokens
    teacher_tokens: SideTokens
    chunk_mask: Bool[Tensor, "batch chunk"]
    chunk_ends_run: Bool[Tensor, "batch chunk"]
    target_mask: Bool[Tensor, "batch student_pos"]
    own_rows: Bool[Tensor, " batch"]
    optional_teacher: ModelSignal | None = None
    optional_mean_square: Float[Tensor, " hidden"] | None = None
    optional_host: "Supervision | None" = None
    found: dict[Hashable, Any] = field(default_factory=dict)

    @property
    def host(self) -> "Supervision":
        """Tokens and masks where the processor reads them: a GPU would have to be waited for."""
        return self if self.optional_host is None else self.optional_host

    @property
    def teacher(self) -> ModelSignal:
        """The teacher's signal; a ValueError if no objective needs one."""
        return _required(self.optional_teacher, "needs_teacher")

    @property
    def teacher_mean_square(self) -> Float[Tensor, " hidden"]:
        """Mean square of each channel of the teacher's hidden states, at the ends of all chunks.

        Over the whole optimizer step, on all ranks; a ValueError if no objective needs them.
        """
        return _required(self.optional_mean_square, "needs_hidden")


@dataclass(frozen=True, kw_only=True)
class Signal(Supervision):
    """What both models say of a batch.

    Attributes:
        student: The student's signal, with a gradient.
    """

    student: ModelSignal
