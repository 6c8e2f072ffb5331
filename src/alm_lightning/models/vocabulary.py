"""New vocabularies for old models: how a student is made from the model that it starts as."""

import logging
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from alm_lightning.models.bytes.student import byte_student
from alm_lightning.models.embeddings.initialisation import Initialisation, Side
from alm_lightning.models.transfer import check_transferable, is_tied, transferred
from alm_lightning.tokenization.specials.roles import old_special_ids
from alm_lightning.tokenization.view import TokenizerView

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BytesFromOldTokens:
    """A byte student: each byte starts from the old token that stands for it.

    Input and output are untied. Input expansion adds, at each byte, the old embedding of the
    longest old token that ends there (docs/method.md, section 4).

    Attributes:
        expansion: Whether to add the old embeddings.
        train_expansion: Whether they are trained along; frozen, they cost no optimizer state.
        dtype: Of the weights that are trained.
    """

    expansion: bool
    train_expansion: bool
    dtype: torch.dtype

    def __call__(
        self,
        model: PreTrainedModel,
        *,
        old: TokenizerView,
        new: TokenizerView,
        share_body: bool = False,
    ) -> PreTrainedModel:
        """The student.

        Args:
            model: The model that it starts as; left as it is.
            old: That model's tokenizer.
            new: The byte tokenizer. Each of its special tokens is read as the old one that does the
                same (`tokenization.specials.roles`), and a BOS that `old` has not as what began a
                document. Those that `old` has, and EOS, are written as they were; those that it has
                nothing like start as the mean of its ordinary tokens.
            share_body: Not for bytes.

        Returns:
            A model of its own, in training mode.

        Raises:
            ValueError: If the body is to be shared.
        """
        if share_body:
            raise ValueError(
                "a byte student can't share its teacher's body: bytes ask more of it than adapters "
                "can give (docs/method.md, section 4). Take FullFineTuning "
                "(adapter=full)."
            )
        in_order = sorted(new.special_ids, key=new.special_ids.__getitem__)
        old_ids = old_special_ids(old, new)
        unknown = [content for content in in_order if content not in old.special_ids]
        for content in unknown:
            if new.special_ids[content] == new.start_id:
                old_ids[new.start_id] = old.start_id
        return byte_student(
            model,
            token_bytes=old.token_bytes,
            special_ids={content: old_ids.get(new.special_ids[content]) for content in in_order},
            # a BOS or pad token that is read as EOS would be as likely as EOS, and end nothing
            unwritten={c for c in unknown if new.special_ids[c] != new.id_of("eos")},
            fallback_ids=old.fallback_ids,
            expansion=self.expansion,
            train_expansion=self.train_expansion,
            dtype=self.dtype,
            roles=new.roles,
        )


@dataclass(frozen=True)
class NewVocabulary:
    """A student of the same architecture over another vocabulary.

    Tied embeddings stay tied; others are made one by one, and so is an output bias. What begins a
    document with the new tokenizer, its BOS or its EOS, is read as what began one with the old.

    Attributes:
        initialisation: How the new embeddings are made from the old ones.
        dtype: Of the weights that are trained.
    """

    initialisation: Initialisation
    dtype: torch.dtype

    def __call__(
        self,
        model: PreTrainedModel,
        *,
        old: TokenizerView,
        new: TokenizerView,
        share_body: bool = False,
    ) -> PreTrainedModel:
        """The student in training mode; see `transferred` for `share_body`."""
        check_transferable(model)
        rows_of = self.initialisation.fitted(old=old, new=new)
        head = model.get_output_embeddings()

        def rows(
            matrix: Float[Tensor, "old_vocab width"], side: Side
        ) -> Float[Tensor, "new_vocab width"]:
            made = rows_of(matrix.detach(), side=side)
            if len(made) != new.num_tokens:
                raise ValueError(
                    f"{type(self.initialisation).__name__} made {len(made):,} rows: expected "
                    f"{new.num_tokens:,}, one for each id of tokenizer {new.name!r}."
                )
            return made

        bias = None if head.bias is None else rows(head.bias[:, None], "output")[:, 0]
        input_rows = rows(model.get_input_embeddings().weight, "input")
        # models lean on the token that begins every document. Gemma 3 270M with another tokenizer,
        # whose EOS that is, started at 1.95 bits per byte with the old EOS there
        # (docs/results/subword_transfer.md)
        start = model.get_input_embeddings().weight[old.start_id]
        input_rows[new.start_id] = start.detach().to(input_rows.dtype)
        if is_tied(model) and new.start_id == new.roles.get("eos") != new.roles.get("bos"):
            _warn_of_eos(old, new)
        return transferred(
            model,
            input_rows=input_rows,
            head_rows=None if is_tied(model) else rows(head.weight, "output"),
            head_bias=bias,
            roles=new.roles,
            content_ids=frozenset(i for i, s in enumerate(new.token_bytes) if s is not None),
            dtype=self.dtype,
            share_body=share_body,
        )


def _warn_of_eos(old: TokenizerView, new: TokenizerView) -> None:
    """Warns that one row is read as one token and written as another."""
    if old.start_id != old.roles.get("eos"):
        log.warning(
            "tokenizer %s begins documents with its EOS, and the model's embeddings are tied: that "
            "token is read as %s's BOS at first, and has to learn again to end a text. Without "
            "training the student hardly ever stops.",
            new.name,
            old.name,
        )
