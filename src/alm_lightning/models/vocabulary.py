"""New vocabularies for old models: how a student is made from the model that it starts as."""

from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from alm_lightning.models.byte_student import byte_student
from alm_lightning.tokenization.view import TokenizerView


@dataclass(frozen=True)
class BytesFromOldTokens:
    """A byte student: each byte starts from the old token that stands for it.

    Input and output are untied. Input expansion adds, at each byte, the old embedding of the
    longest old token that ends there (method.md, section 4).

    Attributes:
        expansion: Whether to add the old embeddings.
        train_expansion: Whether they are trained along; frozen, they cost no optimizer state.
        dtype: Of the weights that are trained.
    """

    expansion: bool
    train_expansion: bool
    dtype: torch.dtype

    def __call__(
        self, model: PreTrainedModel, *, old: TokenizerView, new: TokenizerView
    ) -> PreTrainedModel:
        """The student.

        Args:
            model: The model that it starts as; left as it is.
            old: That model's tokenizer.
            new: The byte tokenizer, whose special tokens `old` has as well.

        Returns:
            A model of its own, in training mode.
        """
        in_order = sorted(new.special_ids, key=new.special_ids.__getitem__)
        return byte_student(
            model,
            token_bytes=old.token_bytes,
            special_ids={content: old.special_ids[content] for content in in_order},
            fallback_ids=old.fallback_ids,
            expansion=self.expansion,
            train_expansion=self.train_expansion,
            dtype=self.dtype,
            roles=new.roles,
        )
