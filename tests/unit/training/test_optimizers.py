import importlib.util
import subprocess
import sys

import pytest
import torch

from alm_lightning.training.optimizers import adamw_8bit, check_torchao

HAS_TORCHAO = importlib.util.find_spec("torchao") is not None


def test_torchao_that_is_not_installed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"optimizer=adamw_8bit needs torchao.*\[gpu\]"):
        adamw_8bit([], lr=1e-3, betas=(0.9, 0.95), weight_decay=0.0, block_size=256)


@pytest.mark.slow
@pytest.mark.skipif(not HAS_TORCHAO, reason="torchao is an extra")
def test_eight_bits_go_where_float32_goes():
    """The first steps: both move by the learning rate, in the direction of the gradient."""
    check_torchao()
    torch.manual_seed(0)
    start = torch.randn(64, 128)
    ours, plain = (torch.nn.Parameter(start.clone()) for _ in range(2))
    settings = {"lr": 1e-2, "betas": (0.9, 0.95), "weight_decay": 0.0}
    optimizers = [
        adamw_8bit([{"params": [ours]}], **settings, block_size=256),
        torch.optim.AdamW([plain], **settings),
    ]
    for _ in range(3):
        gradient = torch.randn(64, 128)
        for parameter, optimizer in zip((ours, plain), optimizers, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    moved = (plain - start).norm()
    assert (ours - plain).norm() < 0.05 * moved


@pytest.mark.slow
@pytest.mark.skipif(not HAS_TORCHAO, reason="torchao is an extra")
def test_states_of_eight_bits_are_read_in_another_process(tmp_path):
    weight = torch.nn.Parameter(torch.randn(64, 128))
    optimizer = adamw_8bit(
        [{"params": [weight]}], lr=1e-2, betas=(0.9, 0.95), weight_decay=0.0, block_size=256
    )
    weight.grad = torch.randn(64, 128)
    optimizer.step()
    torch.save(optimizer.state_dict(), tmp_path / "states.pt")
    code = """
        import sys, torch
        from alm_lightning.training.optimizers import check_torchao
        check_torchao()
        states = torch.load(sys.argv[1], weights_only=True)["state"][0]
        print(states["exp_avg"].dequantize().norm().item())
    """
    lines = [line.strip() for line in code.strip().splitlines()]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines), str(tmp_path / "states.pt")],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    norm = optimizer.state[weight]["exp_avg"].dequantize().norm().item()
    assert float(done.stdout) == pytest.approx(norm)
