"""A student that keeps its vocabulary: distillation from a teacher of another family."""

import copy
from dataclasses import dataclass, replace

import torch
from transformers import PreTrainedModel

from alm_lightning.models.bytes.byte_lm import ByteForCausalLM
from alm_lightning.models.bytes.student import byte_copy
from alm_lightning.models.transfer import check_transferable, is_tied, transferred
from alm_lightning.tokenization.chat.choice import template_of
from alm_lightning.tokenization.view import TokenizerView


class OwnTokenizer:
    """The tokenizer that the student has already.

    Args:
        name: What errors and model cards call the tokenizer.
        chat_template: The format of chats, a name or Jinja, for a tokenizer without a template
            of its own, as that of a base model; it is exported with the student. None leaves
            the tokenizer as it is.
    """

    def __init__(self, *, name: str, chat_template: str | None):
        self.name = name
        self.chat_template = chat_template

    def __call__(self, old: TokenizerView) -> TokenizerView:
        """The same tokenizer, or a copy with the chat template that was asked for.

        A ValueError says that it has another template already, or lacks special tokens of this one.
        """
        if self.chat_template is None:
            return old
        template = template_of(old, self.chat_template).jinja
        if old.hf.chat_template not in (None, template):
            raise ValueError(
                f"tokenizer {old.name!r} has a chat template of its own, and "
                f"chat_template={self.chat_template!r} would replace it. Give chat_template=None "
                "(tokenizer.chat_template=null); chat.student_template says what is trained on."
            )
        hf = copy.deepcopy(old.hf)
        hf.chat_template = template
        return replace(old, hf=hf)


@dataclass(frozen=True)
class OwnVocabulary:
    """A student that is a copy of the model it starts as.

    Attributes:
        dtype: Of the weights that are trained.
    """

    dtype: torch.dtype

    def __call__(
        self,
        model: PreTrainedModel,
        *,
        old: TokenizerView,
        new: TokenizerView,
        share_body: bool = False,
    ) -> PreTrainedModel:
        """A copy of the model in training mode, with all rows of its vocabulary.

        With `share_body`, the body has the very parameters of `model`, frozen. A ValueError says
        that the student's tokenizer is another one, or that the model is of an unsupported kind.
        """
        if new.fingerprint != old.fingerprint:
            raise ValueError(
                f"OwnVocabulary keeps the embeddings of tokenizer {old.name!r}, but the student is "
                f"to have {new.name!r}. Take OwnTokenizer (tokenizer=own), or other embeddings, "
                "such as embeddings=fvt."
            )
        if isinstance(model, ByteForCausalLM):
            if share_body:
                raise ValueError(
                    "OwnVocabulary copies the weights of a byte model, and share_body=True "
                    "(adapter.share_body) would share them. Take FullFineTuning (adapter=full)."
                )
            return byte_copy(model, dtype=self.dtype)
        check_transferable(model)
        head = model.get_output_embeddings()
        return transferred(
            model,
            input_rows=model.get_input_embeddings().weight.detach().clone(),
            head_rows=None if is_tied(model) else head.weight.detach().clone(),
            head_bias=None if head.bias is None else head.bias.detach().clone(),
            roles=new.roles,
            content_ids=frozenset(i for i, s in enumerate(new.token_bytes) if s is not None),
            dtype=self.dtype,
            share_body=share_body,
        )
