"""The teacher of a run that has no weights: it says what a store has."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor

from alm_lightning.data.batch import DistillBatch, SideTokens
from alm_lightning.likelihood.score import chunk_scores, states_at_ends
from alm_lightning.likelihood.signal import ModelSignal
from alm_lightning.likelihood.stored import StoredDistributions
from alm_lightning.models.structure import unused_ids
from alm_lightning.scores.reader import StoreReader
from alm_lightning.tokenization.view import TokenizerView


@dataclass(frozen=True)
class StoredTeacher:
    """What a store has of the teacher's tokens of a batch, as `models.pair.Scorer` would say it.

    Attributes:
        store: The store; batches hold what it has of them, since their collator has it too.
    """

    store: StoreReader
    _unused: dict[torch.device, Tensor] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __call__(
        self,
        batch: DistillBatch,
        tokens: SideTokens,
        *,
        keep_tokens: bool = True,
        keep_hidden: bool = False,
        keep_distributions: bool = False,
    ) -> ModelSignal:
        """The teacher's side of the signal."""
        scores = batch.scores
        found, at_ends, distributions = None, None, None
        if keep_tokens:
            found = chunk_scores(
                scores.logprobs.masked_fill(~tokens.has_target, 0.0),
                scores.boundary_logprobs,
                tokens,
                batch.chunk_is_structure,
            )
        if keep_hidden:
            if scores.hidden is None:
                raise ValueError(f"the store {self.store.folder} has no hidden states.")
            at_ends = states_at_ends(scores.hidden, tokens, batch.chunk_is_structure.shape[1])
        if keep_distributions and scores.top_ids is not None:
            assert scores.top_logprobs is not None  # the two are kept together
            distributions = StoredDistributions(
                scores.top_ids,
                scores.top_logprobs,
                tokens.ids,
                scores.logprobs,
                self.view.num_tokens,
                self._unused_ids(tokens.ids.device),
            )
        return ModelSignal(
            optional_tokens=found,
            optional_hidden=at_ends,
            optional_distributions=distributions,
            # what is kept of an evaluation set is a few numbers a token
            next_bytes=scores.next_bytes if keep_distributions else None,
        )

    @cached_property
    def view(self) -> TokenizerView:
        """The teacher's tokenizer."""
        return self.store.view

    @property
    def hidden_size(self) -> int:
        """Channels of the last hidden states."""
        return self.store.manifest.plan.hidden_size

    @property
    def embedding_size(self) -> int:
        """Channels of the input embeddings, which a store lacks: those of the states."""
        return self.hidden_size

    def freeze(self) -> None:
        """Does nothing: there is nothing to train."""

    def to(self, device: torch.device) -> "StoredTeacher":
        """Itself: batches bring their scores along."""
        return self

    def _unused_ids(self, device: torch.device) -> Int[Tensor, " unused"]:
        # copied once a device: a GPU would be waited for each time
        if device not in self._unused:
            self._unused[device] = torch.from_numpy(unused_ids(self.view)).to(device)
        return self._unused[device]
