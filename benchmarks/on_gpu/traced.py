"""What a student's forward and backward pass hold, without computing them: shapes alone.

Fake tensors have a shape, a type and a storage that takes no memory. The model's own code runs on
them, forward and backward, so that what is saved for the backward pass, what is cast, and when each
of them is freed is not guessed. Operations are the CPU's, whose autocast casts what CUDA's does.
"""

import contextlib
import copy
import weakref
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedConfig, PreTrainedModel

from alm_lightning.models.speed.settings import checkpoint_blocks
from alm_lightning.models.structure import layers_of


class Held(TorchDispatchMode):
    """Bytes of all storages that are alive, and the most that ever were.

    Args:
        known: Tensors whose storages do not count.
    """

    def __init__(self, known: list[Tensor]):
        super().__init__()
        self.now = self.most = 0
        self._alive: dict[int, weakref.ref] = {}
        for tensor in known:
            storage = tensor.untyped_storage()
            self._alive[id(storage)] = weakref.ref(storage)

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, Tensor):
                self._count(each)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, num_bytes = id(storage), storage.nbytes()
        if key in self._alive and self._alive[key]() is storage:
            return

        def freed(_: object) -> None:
            self.now -= num_bytes
            self._alive.pop(key, None)

        self._alive[key] = weakref.ref(storage, freed)
        self.now += num_bytes
        self.most = max(self.most, self.now)


class Adapted(nn.Module):
    """A frozen layer with a low-rank adapter, as peft computes it: the input is cast to float32."""

    def __init__(self, layer: nn.Linear, rank: int):
        super().__init__()
        self.layer = layer
        self.down = nn.Linear(layer.in_features, rank, bias=False, dtype=torch.float32)
        self.up = nn.Linear(rank, layer.out_features, bias=False, dtype=torch.float32)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs) + self.up(self.down(inputs.to(torch.float32))) * 1.0


@dataclass(frozen=True)
class Passes:
    """Bytes of a student's passes, gradients of its weights included.

    Attributes:
        trained: Number of trained weights.
        frozen: Number of frozen ones.
        forward: Held when the backward pass begins.
        most: The most within both passes.
        after: Held when they are over: the gradients, and weights in the type of autocast.
    """

    trained: int
    frozen: int
    forward: int
    most: int
    after: int


def traced(
    kind: type[PreTrainedModel],
    config: PreTrainedConfig,
    *,
    sequences: int,
    length: int,
    checkpointing: bool,
    rank: int | None = None,
    autocast: bool = True,
) -> Passes:
    """The second micro-batch of a step: the gradients of the first one are there.

    Args:
        kind: The class of the model.
        config: Its configuration, attention included; with ``sdpa`` nothing of the length's square
            is held, as with flex_attention.
        sequences: Of a micro-batch.
        length: Tokens of each.
        checkpointing: Whether blocks are computed again.
        rank: Of low-rank adapters on frozen blocks in bfloat16; None trains all weights.
        autocast: Whether products are in bfloat16.

    Returns:
        What they hold.
    """
    if config._attn_implementation == "sdpa" and hasattr(config, "attn_logit_softcapping"):
        # flex_attention caps logits as it goes, and holds no more for it
        config = copy.deepcopy(config)
        config.attn_logit_softcapping = None
    with FakeTensorMode(), _any_attention(kind):
        model = _fake_model(kind, config, rank)
        if checkpointing:
            checkpoint_blocks(model)
        weights = list(model.parameters())
        ids = torch.zeros(sequences, length, dtype=torch.long)
        decoder = model.get_decoder()
        # eager attention adds a mask; the others need none for rows that are full
        mask = torch.ones_like(ids) if config._attn_implementation == "eager" else None
        with Held(weights) as held, torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            for _ in range(2):
                hidden = decoder(input_ids=ids, attention_mask=mask, use_cache=False)[0]
                forward = held.now
                hidden.float().sum().backward()
                del hidden
            after = held.now
    trained = sum(p.numel() for p in weights if p.requires_grad)
    return Passes(trained, sum(p.numel() for p in weights) - trained, forward, held.most, after)


def _fake_model(
    kind: type[PreTrainedModel], config: PreTrainedConfig, rank: int | None
) -> PreTrainedModel:
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float32 if rank is None else torch.bfloat16)
        model = kind(config).train()
    finally:
        torch.set_default_dtype(before)
    if rank is None:
        return model
    model.requires_grad_(False)
    blocks = layers_of(model)
    linear = [(name, m) for name, m in blocks.named_modules() if isinstance(m, nn.Linear)]
    for name, layer in linear:
        blocks.set_submodule(name, Adapted(layer, rank))
    embeddings = model.get_input_embeddings()
    rows = torch.empty(embeddings.weight.shape, dtype=torch.float32)
    embeddings.weight = nn.Parameter(rows)
    model.get_output_embeddings().weight = embeddings.weight
    return model


@contextlib.contextmanager
def _any_attention(kind: type[PreTrainedModel]) -> Iterator[None]:
    """Lets Gemma 2 have ``sdpa``, which holds what its flex_attention holds on CUDA."""
    before = kind._supports_sdpa
    kinds = [each for each in kind.__mro__ if issubclass(each, PreTrainedModel)]
    kind._supports_sdpa = True
    base = kinds[1] if len(kinds) > 1 else kind
    base_before, base._supports_sdpa = base._supports_sdpa, True
    try:
        yield
    finally:
        kind._supports_sdpa, base._supports_sdpa = before, base_before
