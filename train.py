"""Trains a student: `python train.py [experiment=...] [group=option] [key=value]`; see conf/."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from alm_lightning.app.bakeoff.command import bakeoff
from alm_lightning.app.errors import explained
from alm_lightning.app.hydra.bakeoff_mode import is_bakeoff
from alm_lightning.app.hydra.model_groups import register_models
from alm_lightning.app.known_settings import check_known
from alm_lightning.app.naming import name_job
from alm_lightning.app.train.command import train

CONF = Path(__file__).absolute().parent / "conf"
register_models(CONF)


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
@explained
def main(cfg: DictConfig) -> float | None:
    """Runs one experiment; a sweep gets its held-out bits per byte. Or holds a bake-off."""
    check_known(cfg)
    if is_bakeoff(cfg):
        return bakeoff(cfg, train_script=Path(__file__).absolute())
    name_job(cfg)
    return train(cfg)["bits_per_byte"]["student_after"]


if __name__ == "__main__":
    main()
