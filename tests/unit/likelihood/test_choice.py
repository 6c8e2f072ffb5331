"""Kernels on CUDA where there is Triton, torch's operations everywhere else."""

import importlib.util
import sys
from importlib.util import find_spec

import pytest
import torch

from alm_lightning.likelihood.elementwise import choice
from alm_lightning.likelihood.elementwise.choice import operations_for
from alm_lightning.likelihood.elementwise.reference import TorchOperations
from alm_lightning.likelihood.products import Precision

CUDA = torch.device("cuda", 0)
SINGLE = Precision(torch.bfloat16, torch.bfloat16, torch.float32)
DOUBLE = Precision(torch.float64, torch.float64, torch.float64)


@pytest.fixture(autouse=True)
def asked_anew():
    choice._on_cuda.cache_clear()
    yield
    choice._on_cuda.cache_clear()


@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
def test_kernels_where_triton_is():
    from alm_lightning.likelihood.elementwise.kernels import KernelOperations

    assert type(operations_for(CUDA, SINGLE, 30.0)) is KernelOperations


@pytest.mark.parametrize(
    ("device", "precision"),
    [(CUDA, DOUBLE), (torch.device("cpu"), SINGLE), (torch.device("mps"), SINGLE)],
)
def test_torch_elsewhere_and_for_double(device, precision):
    assert type(operations_for(device, precision, None)) is TorchOperations


def test_torch_where_no_triton_is(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert type(operations_for(CUDA, SINGLE, None)) is TorchOperations


def test_a_broken_triton_is_told_once(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: "something")
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "alm_lightning.likelihood.elementwise.kernels", raising=False)
    with pytest.warns(RuntimeWarning, match="ModuleNotFoundError.*Install the triton"):
        assert type(operations_for(CUDA, SINGLE, None)) is TorchOperations
    # in silence from here on: any warning is an error in these tests
    assert type(operations_for(CUDA, SINGLE, None)) is TorchOperations
