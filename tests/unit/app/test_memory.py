"""What is advised where memory is too small."""

import pytest
import torch
from tests.config.conftest import composed  # noqa: F401  (a fixture)

from alm_lightning.app.errors import UserError, explained, sentence_of
from alm_lightning.app.memory import lack_of_memory

CUDA = torch.OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 3.00 GiB. GPU 0 has a total capacity of 79.15 GiB"
)


def shown(cfg, error=CUDA):
    def run(cfg):
        raise error

    with pytest.raises(UserError) as caught:
        explained(run)(cfg)
    return str(caught.value)


def test_settings_that_help_with_numbers(composed):  # noqa: F811
    text = shown(composed("budget=paper"))
    assert "(CUDA out of memory)" in text
    assert "budget.micro_batch_size=2 in place of 4" in text
    assert "speed.checkpointing=true" in text
    assert "optimizer=adamw_8bit" in text
    # bytes are too new for adapters
    assert "adapter=lora" not in text
    assert "adapter=lora" in shown(composed("budget=paper", "tokenizer=own", "embeddings=own"))
    assert "budget.student_length=1024 budget.teacher_length=256 in place of 2048 and 512" in text


def test_nothing_is_advised_that_is_there_already(composed):  # noqa: F811
    small = ["budget.micro_batch_size=1", "budget.student_length=100", "budget.teacher_length=100"]
    text = shown(composed(*small, "speed.checkpointing=true", "adapter=lora", "tokenizer=own"))
    assert "Take smaller batches" in text
    text = shown(composed("budget.micro_batch_size=auto", "optimizer=adamw_8bit"))
    assert "micro_batch_size" not in text
    assert "adamw_8bit" not in text


def test_a_processor_without_memory(composed):  # noqa: F811
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    text = shown(composed(), caught.value)
    assert "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000000000" in text
    assert "budget.micro_batch_size=2 in place of 4" in text
    assert lack_of_memory(RuntimeError("shapes cannot be multiplied")) is None
    assert sentence_of(CUDA).endswith("Take smaller batches or shorter texts.")
