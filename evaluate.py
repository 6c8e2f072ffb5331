"""Evaluates models: `python evaluate.py model=PATH [harness=...] [key=value]`; see conf/."""

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from alm_lightning.app.errors import explained
from alm_lightning.app.evaluate.arguments import model_arguments
from alm_lightning.app.evaluate.command import evaluate
from alm_lightning.app.known_settings import check_known


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
@explained
def main(cfg: DictConfig) -> None:
    """Evaluates one model, several, or an ensemble."""
    check_known(cfg)
    evaluate(cfg, models=Path(__file__).parent / "conf" / "model")


if __name__ == "__main__":
    sys.argv[1:] = model_arguments(sys.argv[1:])
    main()
