"""Optimizers that torch does not have."""

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

OptimizerFactory = Callable[[Iterable[Mapping[str, Any]]], torch.optim.Optimizer]
"""From groups of parameters, some with a learning rate of their own, to the optimizer."""


def adamw_8bit(
    groups: Iterable[Mapping[str, Any]],
    *,
    lr: float,
    betas: Sequence[float],
    weight_decay: float,
    block_size: int,
) -> torch.optim.Optimizer:
    """AdamW of torchao, with moments of 8 bits, quantised block by block.

    Reference: Dettmers et al. (2021), "8-bit Optimizers via Block-wise Quantization",
    arXiv:2110.02861.

    Args:
        groups: Groups of parameters, some with a learning rate of their own.
        lr: Learning rate.
        betas: Decay of the two moments.
        weight_decay: Of decoupled weight decay.
        block_size: Elements that share a scale.

    Returns:
        The optimizer.

    Raises:
        ImportError: torchao is not installed.
    """
    check_torchao()
    # only where it is asked for: it is an extra
    from torchao.optim import AdamW8bit

    return AdamW8bit(
        groups, lr=lr, betas=tuple(betas), weight_decay=weight_decay, block_size=block_size
    )


def check_torchao() -> None:
    """Raises an ImportError that says how to install torchao, unless it is there.

    Importing it lets torch read its states: a checkpoint is loaded before optimizers are made.
    """
    if importlib.util.find_spec("torchao") is None:
        raise ImportError(
            "optimizer=adamw_8bit needs torchao, which is not installed. Install it with `pip "
            "install 'alm-lightning[gpu]'`, or take optimizer=adamw."
        )
    importlib.import_module("torchao.optim")
