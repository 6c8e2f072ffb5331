"""Blocks of a model, compiled; and as they were, where that fails."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch._dynamo.exc import TorchDynamoException
from torch._functorch import config as functorch
from transformers import PreTrainedModel

from alm_lightning.models.structure import layers_of

log = logging.getLogger(__name__)

CACHES = ("cache", "past_key_values")
"""Arguments by which a block gets what came before, as transformers names them."""


class Blocks:
    """The blocks of one model, of which all are compiled or none.

    Args:
        name: What the warning calls the model.
    """

    def __init__(self, name: str):
        self.name = name
        self.works = True

    def compiled(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """A block's `forward`, compiled when it is first called.

        Args:
            forward: As the block has it.

        Returns:
            The same function of the same arguments.
        """
        quick = torch.compile(forward)

        def run(*inputs: Any, **named: Any) -> Any:
            # a text that is generated has another length with each token
            if not self.works or _has_cache(named):
                return forward(*inputs, **named)
            try:
                return quick(*inputs, **named)
            except TorchDynamoException as error:
                self._give_up(error)
            return forward(*inputs, **named)

        return run

    def _give_up(self, error: Exception) -> None:
        self.works = False
        # the first line says which backend failed, the next one why
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        log.warning(
            "blocks of %s can't be compiled (%s: %s). They run uncompiled, which is slower and "
            "computes the same. speed.compile=false says no more of it.",
            self.name,
            type(error).__name__,
            " ".join(lines[:2]),
        )


def compile_blocks(model: PreTrainedModel) -> None:
    """Compiles each block of a model when it is first called, in place.

    Blocks, and not the whole: all of one kind share one compilation, so that it takes a fraction of
    the time, and what transformers does around them need not be understood by the compiler.

    Args:
        model: A causal language model.

    Raises:
        ValueError: It has no list of blocks.
    """
    layers = layers_of(model)
    if not len(layers):
        raise ValueError(
            f"speed.compile is true, but {type(model).__name__} has no list of blocks. Take "
            "speed.compile=false."
        )
    # GradMag goes back through a block twice; a compiled backward pass that may use its inputs'
    # memory for something else refuses the second time
    functorch.donated_buffer = False
    blocks = Blocks(type(model).__name__)
    for layer in layers:
        layer.forward = blocks.compiled(layer.forward)


def uncompile_blocks(model: PreTrainedModel) -> None:
    """Gives blocks their own `forward` back.

    Args:
        model: A model whose blocks may be compiled.
    """
    for layer in layers_of(model):
        vars(layer).pop("forward", None)


def _has_cache(named: Mapping[str, Any]) -> bool:
    return any(named.get(name) is not None for name in CACHES)
