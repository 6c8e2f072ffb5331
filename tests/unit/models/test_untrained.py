import pytest
import torch

from alm_lightning.models import untrained
from alm_lightning.models.untrained import num_alike


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(untrained, "BLOCK_ROWS", 7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_that_point_where_others_do(dtype):
    torch.manual_seed(0)
    weight = torch.randn(50, 64)
    # as initialised together and decayed alike, of different lengths
    weight[[3, 11, 30, 49]] = torch.randn(64) + 0.05 * torch.randn(4, 64)
    weight[11] *= 4
    # the opposite direction is another one
    weight[20] = -weight[3]
    weight = weight.to(dtype)
    found = [num_alike(weight, token_id) for token_id in range(50)]
    assert found == [3 if n in (3, 11, 30, 49) else 0 for n in range(50)]


def test_a_row_that_was_trained_a_little_is_another_one():
    torch.manual_seed(0)
    weight = torch.randn(64) + 0.05 * torch.randn(20, 64)
    assert num_alike(weight, 4) == 19
    # as that of a student that ends its answers: its nearest row is at 0.965
    weight[4] += 0.3 * torch.randn(64)
    assert torch.cosine_similarity(weight[3], weight[4], dim=0) > 0.9
    assert num_alike(weight, 4) == 0


def test_rows_of_zeros_are_alike_and_nothing_else():
    weight = torch.eye(20)
    weight[[2, 9, 15]] = 0.0
    assert num_alike(weight, 9) == 2
    assert num_alike(weight, 4) == 0
