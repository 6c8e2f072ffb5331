import platform

import pytest
import torch
from hydra import compose, initialize_config_dir
from tests.runs import REPOSITORY

from alm_lightning.app.train.build import build_trainer
from alm_lightning.distillation import checks
from alm_lightning.likelihood import hardware
from alm_lightning.likelihood.blocks import LogitBlocks
from alm_lightning.models import loading
from alm_lightning.models.loading import torch_dtype


@pytest.fixture
def processor(monkeypatch):
    """Pretends to be a processor, without an accelerator."""

    def pretend(*, machine="x86_64", mkldnn=True, avx512_bf16=False, amx=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(platform, "machine", lambda: machine)
        # what oneDNN says of any processor with AVX-512, and of an Arm processor with bf16
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: mkldnn)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)

    return pretend


@pytest.mark.parametrize(("quick", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_is_what_the_hardware_multiplies(monkeypatch, quick, dtype):
    monkeypatch.setattr(loading, "multiplies_bfloat16", lambda device: quick)
    assert torch_dtype("auto") == dtype
    assert torch_dtype("float16") == torch.float16


@pytest.mark.parametrize(
    ("instructions", "quick"),
    [
        ({}, False),  # Ice Lake, Cascade Lake: AVX-512, and bfloat16 is emulated
        ({"avx512_bf16": True}, True),
        ({"amx": True}, True),
        ({"machine": "AMD64", "avx512_bf16": True}, True),  # what Windows calls it
        ({"machine": "aarch64"}, True),
        ({"machine": "aarch64", "mkldnn": False}, False),
    ],
)
def test_a_processor_is_asked_for_its_instructions(processor, instructions, quick):
    processor(**instructions)
    assert hardware.multiplies_bfloat16() == quick


def test_without_onednn_nothing_is_quick(processor, monkeypatch):
    processor(amx=True)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not hardware.multiplies_bfloat16()


@pytest.mark.parametrize(("device", "quick"), [("auto", True), ("cuda:0", True), ("cpu", False)])
def test_the_device_that_computes_is_asked(processor, monkeypatch, device, quick):
    processor()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: True)
    assert hardware.multiplies_bfloat16(device) == quick
    assert torch_dtype("auto", device) == (torch.bfloat16 if quick else torch.float32)


def test_emulation_on_an_accelerator_is_not_quick(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    # a V100 or a T4
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation
    )
    assert not hardware.multiplies_bfloat16()


@pytest.mark.parametrize("quick", [True, False])
def test_logits_of_bfloat16_are_multiplied_in_it_where_that_is_quick(processor, quick):
    processor(amx=quick)
    hidden, weight = torch.randn(4, 8).bfloat16(), torch.randn(16, 8).bfloat16()
    blocks = LogitBlocks(hidden, weight, None, None)
    assert blocks.precision.rounds_to_bfloat16 == quick
    logits = blocks.logits(blocks.rows[0], *blocks.select(slice(0, 16)))
    torch.testing.assert_close(logits, hidden.float() @ weight.float().T)


@pytest.mark.parametrize(("quick", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_the_trainer_computes_in_it(monkeypatch, quick, precision):
    with initialize_config_dir(version_base="1.3", config_dir=str(REPOSITORY / "conf")):
        cfg = compose("train", ["paths.output_dir=unused", "trainer=cpu"])
    asked = []
    monkeypatch.setattr(checks, "multiplies_bfloat16", lambda device: asked.append(device) or quick)
    cfg.callbacks, cfg.logger = {}, {}
    assert build_trainer(cfg).precision == precision
    assert set(asked) == {"cpu"}
    cfg.trainer.precision = "64-true"
    assert build_trainer(cfg).precision == "64-true"
