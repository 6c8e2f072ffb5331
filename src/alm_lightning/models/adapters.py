"""Which weights of a student are trained: all, or low-rank adapters and embeddings."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import PreTrainedModel

from alm_lightning.models.bytes.byte_lm import ByteForCausalLM
from alm_lightning.models.structure import layers_of

log = logging.getLogger(__name__)

ADAPTER = "default"
"""peft's name of the only adapter."""
MANY = 0.1
"""Share of the blocks' matrices without adapters above which a warning is logged."""


@dataclass(frozen=True)
class FullFineTuning:
    """All weights are trained, on a copy of the model that the student starts as."""

    share_body: ClassVar[bool] = False

    def adapt(self, model: PreTrainedModel) -> None:
        """Leaves the student as it is."""


@dataclass(frozen=True)
class LowRank:
    """LoRA on every linear layer of the blocks; embeddings in full, or frozen like all else.

    Experts that transformers keeps in one tensor are not linear layers: a warning says so.

    The recipe for subword targets (docs/method.md, section 4). Reference: Hu et al. (2021),
    "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685.

    The student's own modules carry the adapters. Where the body is shared, teacher and student have
    the same frozen parameters, and the teacher's modules are those that were loaded: it computes
    what it always did, and there is nothing to switch off or to put back.

    Attributes:
        rank: Rank of each adapter.
        alpha: The adapters' product is multiplied by alpha / rank.
        share_body: Whether the frozen weights are the teacher's own, in place of a copy.
        train_embeddings: Whether input and output embeddings are trained, as new ones must be.
    """

    rank: int
    alpha: int | float
    share_body: bool
    train_embeddings: bool

    def __post_init__(self) -> None:
        """Refuses a rank or a factor without effect."""
        if self.rank < 1 or not self.alpha > 0:
            raise ValueError(
                f"rank is {self.rank} and alpha {self.alpha} (adapter.rank, adapter.alpha): "
                "expected a rank of 1 or more, and a factor above 0."
            )

    def adapt(self, model: PreTrainedModel) -> None:
        """Freezes the student, adds adapters, and trains its embeddings if they are to be trained.

        The table of a byte student's input expansion stays trained, where it is. At first the
        adapters add zero. A ValueError says that the blocks have no linear layers.
        """
        tables = [table for table in _expansion_tables(model) if table.requires_grad]
        model.requires_grad_(False)
        layers = layers_of(model)
        targets = [name for name, m in layers.named_modules() if isinstance(m, nn.Linear)]
        if not targets:
            raise ValueError(
                f"the blocks of {type(model).__name__} have no linear layers for adapters. Take "
                "FullFineTuning (adapter=full)."
            )
        _warn_of_other_weights(model, layers, targets)
        inject_adapter_in_model(
            LoraConfig(r=self.rank, lora_alpha=self.alpha, target_modules=targets), layers
        )
        for layer in _adapted(layers):
            # peft gives them the frozen weights' type, in which small updates would be lost
            layer.lora_A.float()
            layer.lora_B.float()
        for matrix in (model.get_input_embeddings(), model.get_output_embeddings()):
            matrix.requires_grad_(self.train_embeddings)
        for table in tables:
            table.requires_grad_(True)


def saved_weights(model: PreTrainedModel, dtype: torch.dtype) -> dict[str, Tensor]:
    """The weights of a model as a checkpoint has them: adapters added in, a tied matrix once.

    Args:
        model: The model; it is left as it is.
        dtype: Of the weights; integers (the trie of a byte student) keep their type.

    Returns:
        Weights by name.
    """
    tied = model.all_tied_weights_keys
    return {name: tensor for name, tensor in merged_weights(model, dtype) if name not in tied}


def merged_weights(model: PreTrainedModel, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """The weights of a model with its adapters added in, under the names of the plain architecture.

    One tensor at a time; the model is left as it is.
    """
    adapted = {
        name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)
    }
    for name, tensor in model.state_dict().items():
        owner, _, rest = name.partition(".base_layer.")
        if rest == "weight":
            layer = adapted[owner]
            # added in the adapters' precision: the sum is rounded once
            tensor = layer.get_delta_weight(ADAPTER).add_(tensor)
        elif any(part in name for part in (".lora_A.", ".lora_B.")):
            continue
        plain = f"{owner}.{rest}" if rest else name
        yield plain, tensor.to(dtype) if tensor.is_floating_point() else tensor


def _warn_of_other_weights(model: PreTrainedModel, layers: nn.Module, targets: list[str]) -> None:
    """Warns of weights in the blocks outside linear layers, such as experts in one tensor."""
    linear = {f"{target}.weight" for target in targets}
    matrices = {name: p.numel() for name, p in layers.named_parameters() if p.ndim > 1}
    others = {name: size for name, size in matrices.items() if name not in linear}
    if sum(others.values()) > MANY * sum(matrices.values()):
        log.warning(
            "%s of %s weights in the blocks of %s are in no linear layer, such as %s: they get no "
            "adapters, and stay frozen. FullFineTuning (adapter=full) trains them too.",
            f"{sum(others.values()):,}",
            f"{sum(matrices.values()):,}",
            type(model).__name__,
            max(others, key=others.__getitem__),
        )


def _expansion_tables(model: PreTrainedModel) -> list[Tensor]:
    """The old embeddings that a byte student adds to those of bytes; none of other models."""
    if not isinstance(model, ByteForCausalLM) or model.model.expansion is None:
        return []
    return [model.model.expansion.embedding.weight]


def _adapted(layers: nn.Module) -> Iterator[LoraLayer]:
    return (module for module in layers.modules() if isinstance(module, LoraLayer))
