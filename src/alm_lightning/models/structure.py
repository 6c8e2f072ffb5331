"""The parts of a causal language model of transformers: body, last block, output head."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from alm_lightning.likelihood.head import OutputHead
from alm_lightning.models.bytes.byte_config import ByteLMConfig, soft_cap_of
from alm_lightning.tokenization.view import TokenizerView

MASKS_FROM_POSITIONS = ("eager", "sdpa", "flex_attention")
"""Ways of computing attention for which transformers makes the mask of a packed row."""

ACROSS_DOCUMENTS = ("linear_attention", "mamba", "conv", "recurrent", "hybrid")
"""Kinds of layers that carry a state along a row, whatever its positions say."""

UNSUPPORTED_HEADS = ("logit_scale", "logits_scaling", "lm_head_multiplier")
"""Config names of families that scale their logits (Cohere, Granite, Falcon-H1)."""


def refuse_byte_model(model: PreTrainedModel) -> None:
    """Refuses to make a student with another tokenizer of a byte model."""
    if isinstance(model.config, ByteLMConfig):
        raise ValueError(
            "the student is to start as a byte model, which can't be moved onto another tokenizer. "
            "Train it further with its own tokenizer and embeddings (tokenizer=own embeddings=own "
            "adapter=full), or start from the model that it was made from, which its model card "
            "names."
        )


def last_hidden(
    model: PreTrainedModel,
    ids: Int[Tensor, "batch pos"],
    positions: Int[Tensor, "batch pos"] | None = None,
) -> Float[Tensor, "batch pos hidden"]:
    """Last hidden states, after the final norm: what the output head is applied to.

    `ids` are padded on the right, where a token sees nothing of what comes after it: the states of
    tokens are right, those of padding are of no meaning. For packed rows, `positions` are the
    places of tokens in their documents, from 0: no token sees another document, and padding is one.
    """
    decoder = model.get_decoder()
    if positions is None:
        # no mask: attention has a quicker kernel for what is causal and nothing else
        return decoder(input_ids=ids, use_cache=False).last_hidden_state
    # without a mask, transformers takes positions that start again for the starts of documents
    return decoder(input_ids=ids, position_ids=positions.long(), use_cache=False).last_hidden_state


def check_packable(model: PreTrainedModel) -> None:
    """Refuses a model in which documents of a packed row would see each other.

    Its attention does not read positions, or it has layers with a state.
    """
    # a byte student answers with its body's
    config = model.config.get_text_config()
    implementation = config._attn_implementation
    # families with layers of one kind have no such key
    kinds = set(getattr(config, "layer_types", None) or ())
    wrong = sorted(kind for kind in kinds if any(name in kind for name in ACROSS_DOCUMENTS))
    if wrong or implementation not in MASKS_FROM_POSITIONS:
        reason = f"layers of kind {wrong}" if wrong else f"{implementation!r} attention"
        raise ValueError(
            f"{type(model).__name__} has {reason}: documents of a packed row would see each other. "
            f"Put one document in a row (packing=one_per_row), or load the model with attention "
            f"{', '.join(MASKS_FROM_POSITIONS)}."
        )


def layers_of(model: PreTrainedModel) -> nn.ModuleList:
    """The transformer layers: the longest module list, since families name it as they like.

    The list is empty if the model has none.
    """
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    return max(lists, key=len, default=nn.ModuleList())


def last_matrix(model: PreTrainedModel) -> nn.Parameter:
    """The last weight matrix of the last transformer layer, at which gradients are compared.

    The paper compares them at the last transformer layer. Its last matrix alone (the down
    projection of the MLP) gives the losses nearly the same weights (docs/results has both), and the
    backward pass to it skips the rest of the layer, which every loss would pay for. A ValueError
    says that the model has no list of layers, or trains no matrix of the last one.
    """
    matrices = [
        parameter
        for layer in layers_of(model)[-1:]
        for parameter in layer.parameters()
        if parameter.requires_grad and parameter.ndim == 2
    ]
    if not matrices:
        raise ValueError(
            f"{type(model).__name__} has no list of layers whose last one has a trained matrix, so "
            "there is nothing to balance the losses at. Take fixed weights (balance=fixed)."
        )
    return matrices[-1]


def unused_ids(view: TokenizerView) -> Int[np.ndarray, " unused"]:
    """Ids of the vocabulary that no token has, ascending: they must get no mass."""
    tokens = {*view.special_ids.values(), *view.roles.values()}
    # few have no bytes; only those are looked at one by one
    silent = np.flatnonzero(view.byte_lengths == 0).tolist()
    unused = [i for i in silent if view.token_bytes[i] is None and i not in tokens]
    return np.array(unused, dtype=np.int64)


def output_head(model: PreTrainedModel, view: TokenizerView) -> OutputHead:
    """The output layer of a model, with the boundary tokens of its tokenizer.

    A ValueError says that the tokenizer has more tokens than the model has output rows, or that the
    model scales its logits in a way that is not supported.
    """
    num_rows = len(model.get_output_embeddings().weight)
    if view.num_tokens > num_rows:
        raise ValueError(
            f"tokenizer {view.name!r} has {view.num_tokens:,} tokens, but its model has "
            f"{num_rows:,} output rows: they do not belong together. Load both from one "
            "revision of one model."
        )
    head = head_of(model, view.num_tokens, torch.from_numpy(unused_ids(view)))
    boundary_ids = torch.from_numpy(view.boundary_ids).to(head.weight.device)
    return replace(head, boundary_ids=boundary_ids)


def head_of(model: PreTrainedModel, num_tokens: int, unused: Int[Tensor, " unused"]) -> OutputHead:
    """The output layer of a model whose tokenizer need not be known: without boundary tokens.

    Args:
        model: A causal language model.
        num_tokens: Output rows that count; those after them are padding.
        unused: Ids among them that no token has.

    Returns:
        The layer, on the model's device.

    Raises:
        ValueError: The model scales its logits in a way that is not supported.
    """
    layer = model.get_output_embeddings()
    config = model.config.get_text_config()
    for scale in UNSUPPORTED_HEADS:
        if getattr(config, scale, None) not in (None, 1, 1.0):
            raise ValueError(
                f"{type(model).__name__} scales its logits ({scale}={getattr(config, scale)}), "
                "which is not supported yet. Open an issue with the model's name."
            )
    device = layer.weight.device
    return OutputHead(
        weight=layer.weight,
        bias=getattr(layer, "bias", None),
        softcap=soft_cap_of(config),
        num_tokens=num_tokens,
        padding_ids=unused.to(device) if len(unused) else None,
        boundary_ids=torch.zeros(0, dtype=torch.long, device=device),
    )


def uninitialised(
    kind: type[PreTrainedModel], config: PreTrainedConfig, dtype: torch.dtype
) -> PreTrainedModel:
    """A model on the CPU without weights, but with its rotary frequencies and scales.

    Those are in no checkpoint, and a model in bfloat16 has rounded ones (Gemma's scale, by 0.2%).
    Memory is taken only where something is written: not for the weights.
    """
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("cpu"), no_init_weights():
            return kind(config)
    finally:
        torch.set_default_dtype(default)
