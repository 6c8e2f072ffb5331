"""What vLLM changes of the process is put back, also where it fails."""

import os
import random

import numpy as np
import pytest
import torch
from tests.unit.training.on_policy.engines.vllm.recorded import ENVIRONMENT

from alm_lightning.training.on_policy.engines.vllm.process import kept_state, launched

DEVICE = torch.device("cpu")


def drawn():
    numpy = np.random.random()  # noqa: NPY002
    return random.random(), numpy, torch.rand(1).item()


def seeded():
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


def changed_and_failed():
    with kept_state(DEVICE):
        seeded()
        torch.set_float32_matmul_precision("medium")
        drawn()
        raise KeyError


def test_random_numbers_and_precision_are_kept():
    seeded()
    expected = [drawn() for _ in range(2)]
    seeded()
    precision = torch.get_float32_matmul_precision()
    found = [drawn()]
    with pytest.raises(KeyError):
        changed_and_failed()
    found.append(drawn())
    assert found == expected
    assert torch.get_float32_matmul_precision() == precision


def test_the_environment_is_put_back(monkeypatch):
    monkeypatch.setenv("RANK", "5")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv("VLLM_NO_USAGE_STATS", "0")
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    with launched(torch.device("cuda", 3)):
        assert os.environ["RANK"] == "0"
        assert os.environ["LOCAL_RANK"] == "3"
    assert {name: os.environ.get(name) for name in ENVIRONMENT} == before
    # who wants to be counted is
    assert os.environ["VLLM_NO_USAGE_STATS"] == "0"
    assert os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"


def test_ranks_of_training_are_those_of_vllm(monkeypatch):
    monkeypatch.setenv("MASTER_PORT", "1234")
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 1)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    with launched(torch.device("cuda", 1)):
        told = {name: os.environ[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
        assert told == {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}
        assert os.environ["MASTER_PORT"] == "1234"
