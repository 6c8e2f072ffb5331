"""A model spread over all ranks: each holds a share of every matrix, and gathers what it needs.

Weights are those of FSDP2 (`fully_shard`): blocks one by one, and all else (embeddings, final norm,
output matrix) as one group. That group, and the block at which losses are compared, stay gathered
from the first forward pass of a step to its end: the output matrix is read long after the forward
pass, by losses that compute its product a slice at a time, and in the backward pass once more.
"""

import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from alm_lightning.models.pair import Scorer
from alm_lightning.models.speed.compiled import uncompile_blocks
from alm_lightning.models.structure import last_hidden, layers_of
from alm_lightning.objectives.objective import Objective
from alm_lightning.training.nothing import nothing_of


class Body(nn.Module):
    """From ids to hidden states in one call, before and after which weights are gathered.

    Args:
        model: A causal language model; its output layer is gathered with the rest, and not called.
    """

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model
        self.has_run = False

    def forward(
        self,
        ids: Int[Tensor, "batch pos"],
        positions: Int[Tensor, "batch pos"] | None,
    ) -> Float[Tensor, "batch pos hidden"]:
        """Last hidden states, as `last_hidden` gives them."""
        self.has_run = True
        hidden = last_hidden(self.model, ids, positions)
        # ranks exchange gradients of the same matrices, though none of a rank's terms reads the
        # output matrix: its gradient is 0 there
        return hidden + nothing_of(self.model.get_output_embeddings()).to(hidden.dtype)


@dataclass(frozen=True)
class Spread:
    """How weights are spread.

    Attributes:
        mesh: The ranks, in one dimension.
        half: What blocks are gathered and multiplied in, under autocast; None: as they are held.
            Embeddings, the final norm and the output matrix are gathered as they are held: they
            are where numbers are added up. Gradients are added up as they are held, in any case.
    """

    mesh: DeviceMesh
    half: torch.dtype | None

    def __call__(
        self,
        module: nn.Module,
        *,
        stays_gathered: bool,
        is_block: bool = False,
        whole: Collection[nn.Parameter] = (),
    ) -> FSDPModule:
        """Spreads what has not been spread yet of a module.

        Args:
            module: A module.
            stays_gathered: Whether it is gathered until someone calls `reshard`.
            is_block: Whether it may be gathered in half precision.
            whole: Parameters that every rank keeps.

        Returns:
            The same module.
        """
        policy = MixedPrecisionPolicy(cast_forward_inputs=False)
        if is_block and self.half is not None:
            policy = MixedPrecisionPolicy(
                param_dtype=self.half, reduce_dtype=torch.float32, cast_forward_inputs=False
            )
        spread = fully_shard(
            module,
            mesh=self.mesh,
            reshard_after_forward=not stays_gathered,
            mp_policy=policy,
            ignored_params=set(whole),
        )
        spread.set_reshard_after_backward(not stays_gathered, recurse=False)
        return spread


class Sharded:
    """One model, spread.

    Args:
        scorer: The model, whole, with its tokenizer. What `spread` spreads is the model itself.
        spread: How.
        whole: Parameters that every rank keeps.
        keeps_copy: Whether this rank can put the model together again, for an export.
    """

    def __init__(
        self,
        scorer: Scorer,
        spread: Spread,
        *,
        whole: Collection[nn.Parameter] = (),
        keeps_copy: bool,
    ):
        model = scorer.model
        self._skeleton = _skeleton(model) if keeps_copy else None
        self._model, self._view = model, scorer.view
        self._spread, self._whole = spread, whole
        self._body = Body(model)
        self._gathered: list[FSDPModule] = []
        self.scorer = replace(scorer, body=self._body)

    def spread(self) -> Iterator[None]:
        """Spreads one block after another, and then all else.

        Yields:
            Nothing, after each: another model can be spread as far.
        """
        blocks = list(layers_of(self._model))
        for block in blocks:
            is_last = block is blocks[-1]
            part = self._spread(block, stays_gathered=is_last, is_block=True, whole=self._whole)
            if is_last:
                self._gathered.append(part)
            yield
        self._gathered.append(self._spread(self._body, stays_gathered=True, whole=self._whole))
        yield

    def reshard(self) -> None:
        """Gives back what was gathered: after the last use of a step, before the optimizer's."""
        for module in self._gathered:
            module.reshard()

    def forget_passes(self) -> None:
        """Clears what FSDP notes of forward passes for the next backward pass, if none is to come.

        It notes each of them, so that the memory of a model that is never trained would grow.
        """
        # torch 2.13 or later; before that, about a kilobyte a forward pass stays
        body = self._body
        if body.has_run and isinstance(body, FSDPModule) and hasattr(body, "reset_iter_state"):
            body.reset_iter_state()

    def gathered(self, parameter: nn.Parameter) -> Callable[[], nn.Parameter]:
        """A parameter that stays gathered, to be called for once a forward pass has gathered it.

        Args:
            parameter: A parameter of the last block, as it is spread.

        Returns:
            What gives it as a whole.
        """
        name = next(name for name, p in self._model.named_parameters() if p is parameter)
        owner, _, attribute = name.rpartition(".")
        return lambda: getattr(self._model.get_submodule(owner), attribute)

    @contextmanager
    def all_gathered(self) -> Iterator[None]:
        """Has every weight on every rank meanwhile. Every rank must enter.

        The model may then be called as often as each rank likes; by `generate` too, if that is told
        not to keep ranks in step. Blocks are in the precision of their forward passes.
        """
        if not self._body.has_run:
            # FSDP takes the module that is called first for the root: no block may be that
            ids = torch.zeros(1, 1, dtype=torch.long, device=self._model.device)
            with torch.no_grad():
                self._body(ids, None)
        spread = [each for each in self._body.modules() if isinstance(each, FSDPModule)]
        given_back = [each for each in spread if each not in self._gathered]
        try:
            for module in spread:
                module.unshard()
            for module in given_back:
                module.set_reshard_after_forward(False, recurse=False)
            yield
        finally:
            for module in given_back:
                module.set_reshard_after_forward(True, recurse=False)
            for module in spread:
                module.reshard()

    def whole(self) -> Scorer | None:
        """The model put together again on the CPU, one parameter at a time. Every rank must call.

        Returns:
            A copy, on a rank that keeps one; None on others.
        """
        self.reshard()
        weights = []
        for parameter in self._model.parameters():
            full = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
            if self._skeleton is not None:
                weights.append(full.detach().to("cpu", copy=True))
        if self._skeleton is None:
            return None
        _fill(self._skeleton, weights)
        return Scorer(self._skeleton, self._view)


class ShardedTerms:
    """The parameters that objectives have of their own, spread.

    Args:
        terms: All terms; what is spread are those with parameters.
        spread: How.
    """

    def __init__(self, terms: Sequence[Objective], spread: Spread):
        self._gathered = []
        for term in terms:
            if any(True for _ in term.parameters()):
                # before FSDP's own hooks, which then see a result with a gradient on every rank
                term.register_forward_hook(_with_gradient)
                self._gathered.append(spread(term, stays_gathered=True))

    def reshard(self) -> None:
        """As `Sharded.reshard`."""
        for module in self._gathered:
            module.reshard()


def _with_gradient(term: nn.Module, given: Any, total: Float[Tensor, ""]) -> Float[Tensor, ""]:
    return total + nothing_of(term).to(total.dtype)


def _skeleton(model: PreTrainedModel) -> PreTrainedModel:
    """A copy without weights, but with the buffers; its blocks are not compiled."""
    empty = {
        id(parameter): nn.Parameter(
            torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad
        )
        for parameter in model.parameters()
    }
    skeleton = copy.deepcopy(model, empty)
    # compiled blocks of a copy call the blocks of the model that it was made of
    uncompile_blocks(skeleton)
    return skeleton


def _fill(skeleton: PreTrainedModel, weights: Sequence[Tensor]) -> None:
    """Puts weights in place, in the order of `parameters()`; tied ones in all of their places."""
    filled = {
        id(empty): nn.Parameter(weight, requires_grad=empty.requires_grad)
        for empty, weight in zip(skeleton.parameters(), weights, strict=True)
    }
    for name, empty in list(skeleton.named_parameters(remove_duplicate=False)):
        owner, _, attribute = name.rpartition(".")
        setattr(skeleton.get_submodule(owner), attribute, filled[id(empty)])
