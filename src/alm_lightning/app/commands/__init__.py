"""Programs without Hydra: `python -m alm_lightning.inspect` and `python -m alm_lightning.bias`."""
