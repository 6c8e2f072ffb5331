"""Trains a student: `python train.py [experiment=...] [group=option] [key=value]`; see conf/."""

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from alm_lightning.app.hydra.arguments import place_arguments
from alm_lightning.app.hydra.model_groups import register_models
from alm_lightning.app.programs import train_program

HERE = Path(__file__).absolute().parent
register_models(HERE / "conf")


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float | None:
    """Runs one experiment; a sweep gets its held-out bits per byte. Or holds a bake-off."""
    return train_program(cfg, scripts=HERE)


if __name__ == "__main__":
    sys.argv[1:] = place_arguments(sys.argv[1:], HERE / "conf")
    main()
