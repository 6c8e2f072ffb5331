"""The loss at full size on the meta device, which has shapes and no numbers.

What asks for a number fails there, as it would make a graphics card wait; and what would be
allocated can be added up, without a card.
"""

import contextlib

import pytest
import torch
from tests.unit.likelihood.test_products import BF16, F32, Walk
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from alm_lightning.likelihood import blocks, online_softmax, products
from alm_lightning.likelihood.distributions import Distributions
from alm_lightning.likelihood.elementwise.reference import TorchOperations
from alm_lightning.likelihood.head import OutputHead
from alm_lightning.likelihood.linear import linear_log_likelihood
from alm_lightning.likelihood.products import precision_of

ROWS, WIDTH, TOKENS = 8192, 2304, 262_144
MEBIBYTE = 2**20


class Allocating(TorchOperations):
    """What kernels allocate: nothing."""

    def add_up(self, *args):
        pass

    def add_up_and_keep(self, *args):
        return args[-1]

    def gradient(self, *args):
        return args[-1]


class Held(TorchDispatchMode):
    """Adds up what is allocated at each moment, as far as operations return it.

    Args:
        given: What is there beforehand, of which operations may return views.
    """

    def __init__(self, *given: torch.Tensor) -> None:
        super().__init__()
        self.given = {StorageWeakRef(each.untyped_storage()).cdata for each in given}
        self.found: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **kwargs or {})
        for each in tree_leaves(result):
            if isinstance(each, torch.Tensor):
                storage = each.untyped_storage()
                reference = StorageWeakRef(storage)
                if reference.cdata in self.given:
                    continue
                self.found.setdefault(reference.cdata, (reference, storage.nbytes()))
        self.found = {key: pair for key, pair in self.found.items() if not pair[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self.found.values()))
        return result


@pytest.fixture
def as_on_cuda(monkeypatch):
    """What CUDA computes under an autocast to bfloat16, with kernels or without."""

    def pretend(operations):
        monkeypatch.setattr(online_softmax, "operations_for", lambda d, p, cap: operations(cap))

    def precision_here(hidden, weight):
        return precision_of("cuda", hidden.dtype, weight.dtype, BF16)

    def multiply(left, right, out):
        assert left.dtype == right.dtype
        assert (len(left), right.shape[1]) == out.shape
        return out

    monkeypatch.setattr(blocks, "precision_here", precision_here)
    for module in (blocks, products):
        monkeypatch.setattr(module, "multiply", multiply)
    # which the meta device has none of
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: contextlib.nullcontext())
    return pretend


def empty(*shape, dtype):
    floats = dtype in (BF16, F32)
    return torch.empty(*shape, device="meta", dtype=dtype, requires_grad=floats)


@pytest.mark.parametrize("softcap", [None, 30.0])
@pytest.mark.parametrize(("dtype", "most"), [(BF16, 740), (F32, 880)])
def test_extra_memory_and_no_wait(dtype, most, softcap, as_on_cuda):
    """About a tenth of what a chunked cross-entropy holds beyond its gradients on an H200.

    That is 7,168 MiB for bfloat16 operands and 8,329 for float32 (of 8,356 and 10,705 with them).
    """
    as_on_cuda(Allocating)
    hidden, weight = empty(ROWS, WIDTH, dtype=dtype), empty(TOKENS, WIDTH, dtype=dtype)
    targets, boundary_ids = (empty(n, dtype=torch.long) for n in (ROWS, 80_000))
    # a gradient in half precision is as large as the matrix
    with Walk(most_half=TOKENS * WIDTH + 1), Held(hidden, weight) as held:
        values = linear_log_likelihood(
            hidden, weight, targets, boundary_ids=boundary_ids, softcap=softcap
        )
        forward = held.peak
        sum(each.sum() for each in values).backward()
    gradients = sum(each.numel() * each.element_size() for each in (hidden, weight))
    # sums of rows of the weight are kept for the gradient of hidden states: 144 MiB
    assert forward / MEBIBYTE < (660 if dtype == BF16 else 740)
    assert 500 < (held.peak - gradients) / MEBIBYTE < most


def test_torch_operations_and_whole_distributions_do_not_wait_either(as_on_cuda):
    as_on_cuda(TorchOperations)
    hidden, weight = empty(2, 300, WIDTH, dtype=F32), empty(TOKENS, WIDTH, dtype=F32)
    bias, padding_ids = empty(TOKENS, dtype=F32), empty(3, dtype=torch.long)
    boundary_ids = empty(9, dtype=torch.long)
    options = {"boundary_ids": boundary_ids, "padding_ids": padding_ids, "softcap": 30.0}
    head = OutputHead(weight, bias, 30.0, TOKENS - 1, padding_ids, boundary_ids)
    with Walk(most_half=TOKENS * 600):
        targets = empty(2, 300, dtype=torch.long)
        values = linear_log_likelihood(hidden, weight, targets, bias=bias, **options)
        sum(each.sum() for each in values).backward()
        side = Distributions(hidden, hidden.detach(), head)
        side.logprobs(empty(64, dtype=torch.long)).sum().backward()


def test_the_meta_device_refuses_what_waits():
    for wait in (torch.Tensor.item, torch.Tensor.tolist, torch.Tensor.cpu, torch.Tensor.nonzero):
        with pytest.raises((RuntimeError, NotImplementedError)):
            wait(torch.empty(1, device="meta"))
