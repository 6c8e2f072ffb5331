"""Evaluates models: `python evaluate.py model=PATH [harness=...] [key=value]`; see conf/."""

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from alm_lightning.app.evaluate.arguments import model_arguments
from alm_lightning.app.hydra.arguments import place_arguments
from alm_lightning.app.programs import evaluate_program


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(cfg: DictConfig) -> None:
    """Evaluates one model, several, or an ensemble."""
    evaluate_program(cfg)


if __name__ == "__main__":
    conf = Path(__file__).absolute().parent / "conf"
    sys.argv[1:] = place_arguments(model_arguments(sys.argv[1:]), conf)
    main()
