"""What a loader knows of being waited for, and where its batches lie."""

import time

import pytest
import torch

from alm_lightning.data.loader import WaitedFor


class Slow(torch.utils.data.Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        time.sleep(0.05)
        return torch.tensor(index)


def test_the_wait_for_each_batch_counts_and_nothing_else():
    loader = WaitedFor(Slow(), batch_size=None)
    found = []
    for batch in loader:
        found.append(int(batch))
        time.sleep(0.2)
    assert found == [0, 1, 2]
    assert 0.15 <= loader.waited_seconds < 0.4


def test_several_rounds_add_up():
    loader = WaitedFor(Slow(), batch_size=None)
    once = sum(1 for _ in loader), loader.waited_seconds
    twice = sum(1 for _ in loader), loader.waited_seconds
    assert once[0] == twice[0] == len(loader) == 3
    assert twice[1] > 1.5 * once[1]


def test_an_error_of_the_data_is_its_own():
    class Bad(Slow):
        def __getitem__(self, index):
            raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"):
        list(WaitedFor(Bad(), batch_size=None))


def test_all_of_a_batch_is_pinned(collator, rows, monkeypatch):
    """Pinning takes a GPU: what is asked for, tensor by tensor."""
    (batch, *_) = collator(rows)
    pinned = []

    def pin(tensor):
        pinned.append(tensor.shape)
        return tensor.clone()

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    found = batch.pin_memory()
    assert len(pinned) == 16
    assert found.is_packed == batch.is_packed
    assert torch.equal(found.student.ids, batch.student.ids)
    assert torch.equal(found.chunk_mask, batch.chunk_mask)
