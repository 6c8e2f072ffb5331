"""Blocks of a model, compiled; and as they were, where that fails."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch._dynamo import config as dynamo
from torch._dynamo.exc import TorchDynamoException
from torch._functorch import config as functorch
from transformers import PreTrainedModel

from alm_lightning.models.structure import layers_of

log = logging.getLogger(__name__)

CACHES = ("cache", "past_key_values")
"""Arguments by which a block gets what came before, as transformers names them."""
MOST_VARIANTS = 64
"""Ways in which one function may be compiled. All blocks of all models are one function for the
compiler, which counts full and sliding attention, student and teacher, training and evaluation, and
each kind of length. At its own limit of 8 it stops compiling, and says so in one line of a log."""


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


def set_up_compiler() -> None:
    """Settings of torch's compiler for the whole process."""
    dynamo.recompile_limit = max(dynamo.recompile_limit, MOST_VARIANTS)
    # it would cut blocks where DDP exchanges gradients while they are computed, which it does in
    # the last backward pass of a step alone
    dynamo.optimize_ddp = False
    # GradMag goes back through a block twice; a compiled backward pass that may use its inputs'
    # memory for something else refuses the second time
    functorch.donated_buffer = False
    # with the forward pass: a backward pass that can't be compiled is found where there is a way
    # around it. Older versions of torch do not have it
    if hasattr(functorch, "force_non_lazy_backward_lowering"):
        functorch.force_non_lazy_backward_lowering = True


def compile_blocks(model: PreTrainedModel, *, keep_last: bool = False) -> None:
    """Compiles each block of a model when it is first called, in place.

    Blocks, and not the whole: all of one kind share one compilation, so that it takes a fraction of
    the time, and what transformers does around them need not be understood by the compiler.

    Args:
        model: A causal language model.
        keep_last: Whether the last block stays as it is. Gradients of terms are compared at its
            last matrix, and a compiled block would compute all of its gradients for each of them.

    Raises:
        ValueError: It has no list of blocks.
    """
    layers = layers_of(model)
    if not len(layers):
        raise ValueError(
            f"speed.compile is true, but {type(model).__name__} has no list of blocks. Take "
            "speed.compile=false."
        )
    set_up_compiler()
    blocks = Blocks(type(model).__name__)
    for layer in layers[:-1] if keep_last else layers:
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
