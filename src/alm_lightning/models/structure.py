"""Where things are in a causal language model of transformers: body, last block, output head."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from alm_lightning.likelihood.score import OutputHead
from alm_lightning.tokenization.view import TokenizerView


def last_hidden(
    model: PreTrainedModel, ids: Int[Tensor, "batch pos"], mask: Bool[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos hidden"]:
    """Last hidden states: what the output head is applied to.

    Args:
        model: A causal language model.
        ids: Token ids, padded on the right.
        mask: True for a token, False for padding.

    Returns:
        Hidden states after the final norm.
    """
    decoder = model.get_decoder()
    return decoder(input_ids=ids, attention_mask=mask.long(), use_cache=False).last_hidden_state


def last_matrix(model: PreTrainedModel) -> nn.Parameter:
    """The last weight matrix of the last transformer layer, at which gradients are compared.

    The paper compares them at the last transformer layer. Its last matrix alone (the way down of
    the MLP) gives the losses nearly the same weights (docs/results.md has both), and the backward
    pass to it skips the rest of the layer, which every loss would pay for.

    Args:
        model: A causal language model.

    Returns:
        The last trained parameter with two axes of the last element of its longest module list.

    Raises:
        ValueError: If the model has no list of layers, or trains no matrix of the last one.
    """
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    last = max(lists, key=len)[-1] if lists else nn.Module()
    matrices = [p for p in last.parameters() if p.requires_grad and p.ndim == 2]
    if not matrices:
        raise ValueError(
            f"{type(model).__name__} has no list of layers whose last one has a trained matrix, so "
            "there is nothing to balance the losses at. Take balance=fixed."
        )
    return matrices[-1]


def output_head(model: PreTrainedModel, view: TokenizerView) -> OutputHead:
    """The output layer of a model.

    Args:
        model: A causal language model.
        view: Its tokenizer.

    Returns:
        Weights and what else shapes logits.

    Raises:
        ValueError: If the tokenizer has more tokens than the model has output rows, or if the model
            scales its logits in a way that is not supported.
    """
    layer = model.get_output_embeddings()
    config = model.config.get_text_config()
    if view.num_tokens > len(layer.weight):
        raise ValueError(
            f"tokenizer {view.name!r} has {view.num_tokens:,} tokens, but its model has "
            f"{len(layer.weight):,} output rows: they do not belong together. Load both from one "
            "revision of one model."
        )
    for scale in ("logit_scale", "logits_scaling"):
        if getattr(config, scale, None) not in (None, 1, 1.0):
            raise ValueError(
                f"{type(model).__name__} scales its logits ({scale}={getattr(config, scale)}), "
                "which is not supported yet. Open an issue with the model's name."
            )
    # families without soft-capping have no such key
    softcap = getattr(config, "final_logit_softcapping", None)
    return OutputHead(
        weight=layer.weight,
        bias=getattr(layer, "bias", None),
        softcap=softcap,
        num_tokens=view.num_tokens,
        boundary_ids=torch.from_numpy(view.boundary_ids).to(layer.weight.device),
    )
