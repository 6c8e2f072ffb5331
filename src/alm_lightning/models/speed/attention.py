"""Which way of computing attention a model gets."""

import logging

import torch
from torch._C import DispatchKey
from torch._higher_order_ops.flex_attention import flex_attention as flex_operator
from transformers import AttentionInterface, PreTrainedModel

from alm_lightning.likelihood.hardware import uses_cuda
from alm_lightning.models.speed.compiled import set_up_compiler

log = logging.getLogger(__name__)

AUTO = "auto"
FLEX = "flex_attention"


def check_attention(name: str | None, device: str) -> None:
    """Refuses a name that transformers does not know, or that is of no use on a device.

    Args:
        name: As in the settings; None for what models have.
        device: The accelerator of the run, as Lightning names it.

    Raises:
        ValueError: There is no such attention, or it has no backward pass here.
    """
    if name in (None, AUTO):
        return
    # eager is each model's own code, and not in this list
    known = sorted({"eager", *AttentionInterface().valid_keys()})
    if name not in known:
        raise ValueError(
            f"speed.attention is {name!r}: expected auto, null for what the models say, or one of "
            f"{', '.join(known)}."
        )
    if name == FLEX and not uses_cuda(device):
        raise ValueError(
            "speed.attention is flex_attention, which has a backward pass on CUDA alone. Take "
            "speed.attention=auto, which chooses it there and something else here."
        )


def attention_for(model: PreTrainedModel, name: str, device: str) -> str:
    """The attention of a model; ``auto`` is the fastest that computes what its family does.

    Args:
        model: A causal language model.
        name: As in the settings.
        device: The accelerator of the run.

    Returns:
        A name of transformers.
    """
    if name != AUTO:
        return name
    decoder = _decoder(model)
    # scaled_dot_product_attention has no soft cap; families without one have no such key
    if getattr(decoder.config, "attn_logit_softcapping", None) is None and decoder._supports_sdpa:
        return "sdpa"
    if not (decoder._supports_flex_attn and uses_cuda(device)):
        return "eager"
    if not casts_flex():
        log.warning(
            "%s soft-caps its attention, and flex_attention of torch %s does not work in mixed "
            "precision: attention is eager, which takes more time and memory. A newer torch (2.13) "
            "has it.",
            type(model).__name__,
            torch.__version__,
        )
        return "eager"
    return FLEX


def casts_flex() -> bool:
    """Whether flex_attention heeds autocast; without it, its inputs are of two types."""
    return DispatchKey.AutocastCUDA in flex_operator.py_kernels


def set_attention(model: PreTrainedModel, name: str) -> None:
    """Changes how a model computes attention, in place.

    Args:
        model: A causal language model.
        name: A name of transformers.

    Raises:
        ValueError: The model does not have it, or a package for it is missing.
    """
    try:
        model.set_attn_implementation(name)
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"speed.attention is {name}, which {type(model).__name__} does not have here: {error} "
            "Take speed.attention=auto, or null for what the models say."
        ) from error
    found = _decoder(model).config._attn_implementation
    if found != name:
        # transformers only logs it
        raise ValueError(
            f"speed.attention is {name}, but {type(model).__name__} keeps {found}. Take "
            "speed.attention=auto, or null for what the models say."
        )
    if name == FLEX:
        # it is compiled, a variant for each kind of mask and length
        set_up_compiler()
    log.info("attention of %s: %s", type(model).__name__, name)


def _decoder(model: PreTrainedModel) -> PreTrainedModel:
    """The innermost model, which knows what its family can; a byte model has one around it."""
    decoder = model.get_decoder()
    return getattr(decoder, "body", decoder)
