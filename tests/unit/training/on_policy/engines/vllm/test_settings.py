"""Runs that vLLM can't sample for are refused before anything is loaded."""

import importlib.util

import pytest
import torch
from tests.unit.training.on_policy.own import settings

from alm_lightning.training.on_policy import EngineSettings, TransformersSettings, VllmSettings

VLLM = VllmSettings(memory_share=0.3, sleeps=True, eager=False)


def check(accelerator="gpu", micro_batch_size=4, **changes):
    VLLM.check(settings(**changes), accelerator=accelerator, micro_batch_size=micro_batch_size)


@pytest.fixture
def cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.fixture
def installed(monkeypatch, cuda):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)


def test_without_a_cuda_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"accelerator is 'auto' .* torch sees no CUDA device"):
        check("auto")


def test_on_the_processor_of_a_machine_with_a_cuda_device(cuda):
    with pytest.raises(ValueError, match=r"accelerator is 'cpu' .* torch sees a CUDA device"):
        check("cpu")


def test_without_vllm(cuda, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'alm-lightning\[vllm\]'"):
        check()


def test_with_vllm(installed):
    check()
    with pytest.raises(ValueError, match=r"temperature is 2.5, and vLLM samples at 0.01 to 2.0"):
        check(temperature=2.5)
    with pytest.raises(ValueError, match="micro-batch is auto"):
        check(micro_batch_size="auto")


@pytest.mark.parametrize("share", [0.0, 1.0, float("nan")])
def test_a_share_that_makes_no_sense(share):
    with pytest.raises(ValueError, match=r"on_policy\.engine\.memory_share is"):
        VllmSettings(memory_share=share, sleeps=True, eager=False)


def test_transformers_samples_anywhere():
    assert settings().engine == TransformersSettings()
    TransformersSettings().check(settings(), accelerator="cpu", micro_batch_size="auto")
    assert isinstance(VLLM, EngineSettings)
    assert isinstance(TransformersSettings(), EngineSettings)
