"""The pair: a student that learns, and a frozen teacher that stays out of checkpoints."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import or_
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from alm_lightning.data.batch import DistillBatch, SideTokens
from alm_lightning.likelihood.distributions import Distributions
from alm_lightning.likelihood.head import OutputHead
from alm_lightning.likelihood.score import model_signals
from alm_lightning.likelihood.signal import ModelSignal
from alm_lightning.models.structure import check_packable, head_of, last_hidden, output_head
from alm_lightning.tokenization.view import TokenizerView


@runtime_checkable
class Teacher(Protocol):
    """What says the teacher's side of the signal: a `Scorer`, or a store of what it said."""

    @property
    def view(self) -> TokenizerView:
        """The teacher's tokenizer."""
        ...

    @property
    def hidden_size(self) -> int:
        """Channels of the last hidden states."""
        ...

    @property
    def embedding_size(self) -> int:
        """Channels of the input embeddings."""
        ...

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
        ...

    def freeze(self) -> None:
        """Makes sure that nothing of it is trained."""
        ...

    def to(self, device: torch.device) -> "Teacher":
        """Moves what there is to move, in place."""
        ...


@dataclass(frozen=True)
class Scorer:
    """A model with its tokenizer: turns its tokens of a batch into what it says of them.

    Not a module: what holds a scorer of the teacher does not own the teacher's weights.

    Attributes:
        model: A causal language model.
        view: Its tokenizer.
        body: What is called for hidden states in place of the model's decoder, with the same
            arguments, where the model's weights must be gathered first; None: the decoder itself.
    """

    model: PreTrainedModel
    view: TokenizerView
    body: nn.Module | None = None
    _ids: dict[torch.device, tuple[Tensor, Tensor]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Refuses a model and a tokenizer that do not belong together, before the first step."""
        output_head(self.model, self.view)

    def __call__(
        self,
        batch: DistillBatch,
        tokens: SideTokens,
        *,
        keep_tokens: bool = True,
        keep_hidden: bool = False,
        keep_distributions: bool = False,
    ) -> ModelSignal:
        """This model's side of the signal, with a gradient where the model has one.

        With log-likelihoods of tokens and chunks unless they are not asked for; on request with
        hidden states at the ends of chunks, or whole next-token distributions.
        """
        (signal,) = self._signals(
            [(batch, tokens)],
            keep_tokens=keep_tokens,
            keep_hidden=keep_hidden,
            keep_distributions=keep_distributions,
        )
        return signal

    def views(
        self,
        batches: Sequence[DistillBatch],
        *,
        keep_tokens: bool = True,
        keep_hidden: bool = False,
        keep_distributions: bool = False,
    ) -> list[ModelSignal]:
        """The student's side beside each of several teachers, from one pass of the model.

        Args:
            batches: The same tokens of the student, in the chunks of each teacher.
            keep_tokens: Whether log-likelihoods are asked for.
            keep_hidden: Whether hidden states are.
            keep_distributions: Whether whole distributions are.

        Returns:
            One signal a teacher.
        """
        asked = {
            "keep_tokens": keep_tokens,
            "keep_hidden": keep_hidden,
            "keep_distributions": keep_distributions,
        }
        if len(batches) == 1:
            return [self(batches[0], batches[0].student, **asked)]
        return self._signals([(batch, batch.student) for batch in batches], **asked)

    def _signals(
        self,
        views: Sequence[tuple[DistillBatch, SideTokens]],
        *,
        keep_tokens: bool,
        keep_hidden: bool,
        keep_distributions: bool,
    ) -> list[ModelSignal]:
        batch, tokens = views[0]
        if batch.is_packed:
            check_packable(self.model)
        positions = tokens.positions if batch.is_packed else None
        if self.body is None:
            hidden = last_hidden(self.model, tokens.ids, positions)
        else:
            hidden = self.body(tokens.ids, positions)
        head = self.head()
        signals = model_signals(
            hidden,
            [(own, view.chunk_is_structure) for view, own in views],
            head,
            keep_tokens=keep_tokens,
            keep_hidden=keep_hidden,
            # a position that one teacher's chunks ask for is there for all of them
            read=reduce(or_, (view.read_positions(own) for view, own in views))
            if keep_tokens
            else None,
        )
        if not keep_distributions:
            return signals
        with torch.no_grad():
            embedded = self.model.get_input_embeddings()(tokens.ids)
        whole = Distributions(hidden, embedded, head)
        return [replace(signal, optional_distributions=whole) for signal in signals]

    def head(self) -> OutputHead:
        """The output layer; its ids are copied once a device: a GPU would wait for each copy."""
        layer = self.model.get_output_embeddings()
        device = layer.weight.device
        if device not in self._ids:
            made = output_head(self.model, self.view)
            unused = made.boundary_ids[:0] if made.padding_ids is None else made.padding_ids
            self._ids[device] = (made.boundary_ids, unused)
        boundary_ids, unused = self._ids[device]
        return replace(head_of(self.model, self.view.num_tokens, unused), boundary_ids=boundary_ids)

    @property
    def hidden_size(self) -> int:
        """Channels of the last hidden states."""
        return self.model.config.get_text_config().hidden_size

    @property
    def embedding_size(self) -> int:
        """Channels of the input embeddings."""
        return self.model.get_input_embeddings().weight.shape[1]

    def freeze(self) -> None:
        """Makes the model one that is not trained."""
        self.model.requires_grad_(False).eval()

    def to(self, device: torch.device) -> "Scorer":
        """Moves the model in place, and returns this scorer."""
        self.model.to(device)
        return self
