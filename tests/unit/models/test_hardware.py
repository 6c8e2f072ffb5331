import pytest
import torch
from hydra import compose, initialize_config_dir
from tests.runs import REPOSITORY

from alm_lightning.app import build
from alm_lightning.models import hardware, loading
from alm_lightning.models.loading import torch_dtype


@pytest.mark.parametrize(("quick", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_is_what_the_hardware_multiplies(monkeypatch, quick, dtype):
    monkeypatch.setattr(loading, "multiplies_bfloat16", lambda: quick)
    assert torch_dtype("auto") == dtype
    assert torch_dtype("float16") == torch.float16


def test_without_a_device_the_processor_is_asked(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert hardware.multiplies_bfloat16() == torch.ops.mkldnn._is_mkldnn_bf16_supported()
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not hardware.multiplies_bfloat16()


@pytest.mark.parametrize(("quick", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_the_trainer_computes_in_it(monkeypatch, quick, precision):
    with initialize_config_dir(version_base="1.3", config_dir=str(REPOSITORY / "conf")):
        cfg = compose("train", ["paths.output_dir=unused"])
    monkeypatch.setattr(build, "multiplies_bfloat16", lambda: quick)
    cfg.callbacks, cfg.logger = {}, {}
    assert build.build_trainer(cfg).precision == precision
    cfg.trainer.precision = "64-true"
    assert build.build_trainer(cfg).precision == "64-true"
