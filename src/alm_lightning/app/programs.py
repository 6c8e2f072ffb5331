"""The programs `alm-train`, `alm-score` and `alm-evaluate`; train.py and evaluate.py share two."""

import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from alm_lightning.app.bakeoff.command import bakeoff
from alm_lightning.app.errors import explained
from alm_lightning.app.evaluate.arguments import model_arguments
from alm_lightning.app.evaluate.command import evaluate
from alm_lightning.app.hydra.arguments import place_arguments
from alm_lightning.app.hydra.bakeoff_mode import is_bakeoff
from alm_lightning.app.hydra.model_groups import register_models
from alm_lightning.app.hydra.processes import started_as_one_run
from alm_lightning.app.known_settings import check_known
from alm_lightning.app.naming import name_job
from alm_lightning.app.scoring import score_corpus
from alm_lightning.app.train.command import train

PACKAGE = Path(__file__).parents[1]


def conf_folder() -> Path:
    """Where the configuration is: in the package, as in a wheel, or at the top of a checkout."""
    places = (PACKAGE / "conf", PACKAGE.parents[1] / "conf")
    for place in places:
        if (place / "train.yaml").is_file():
            return place
    raise FileNotFoundError(
        f"there is no configuration in {' or '.join(map(str, places))}. Install the package again."
    )


def train_program(cfg: DictConfig, scripts: Path | None = None) -> float | None:
    """Runs one experiment, or a bake-off.

    Args:
        cfg: The composed configuration.
        scripts: The folder of train.py and evaluate.py, which a bake-off starts; None for the
            modules of this package.

    Returns:
        Held-out bits per byte, for a sweep; None of a bake-off.
    """
    return explained(partial(_train, scripts=scripts))(cfg)


def _train(cfg: DictConfig, scripts: Path | None) -> float | None:
    check_known(cfg)
    if is_bakeoff(cfg):
        bakeoff(cfg, _command("train", scripts), _command("evaluate", scripts))
        return None
    name_job(cfg)
    with started_as_one_run():
        figure = train(cfg)["bits_per_byte"]["student_after"]
    if HydraConfig.get().mode == RunMode.MULTIRUN and not math.isfinite(figure):
        # a search could not be told of it, and would end
        raise RuntimeError(
            f"after training the held-out bits per byte are {figure}: the run has diverged in its "
            "last steps. Try a lower budget.learning_rate."
        )
    return figure


def _command(name: str, scripts: Path | None) -> list[str]:
    """Arguments of Python that start a program."""
    if scripts is not None:
        return [str(scripts / f"{name}.py")]
    # -P: a file in the current folder must not take the place of a library
    return ["-P", "-m", f"alm_lightning.app.{name}"]


@explained
def score_program(cfg: DictConfig) -> None:
    """Writes what a teacher says of a corpus."""
    check_known(cfg)
    score_corpus(cfg)


@explained
def evaluate_program(cfg: DictConfig) -> None:
    """Evaluates one model, several, or an ensemble."""
    check_known(cfg)
    sources = HydraConfig.get().runtime.config_sources
    (conf,) = (source.path for source in sources if source.provider == "main")
    evaluate(cfg, models=Path(conf) / "model")


def alm_train() -> None:
    """The program alm-train."""
    sys.argv[1:] = place_arguments(sys.argv[1:], conf_folder())
    register_models(conf_folder())
    _hydra_main("train")(train_program)()


def alm_score() -> None:
    """The program alm-score."""
    sys.argv[1:] = place_arguments(sys.argv[1:], conf_folder())
    register_models(conf_folder())
    _hydra_main("score")(score_program)()


def alm_evaluate() -> None:
    """The program alm-evaluate."""
    sys.argv[1:] = place_arguments(model_arguments(sys.argv[1:]), conf_folder())
    _hydra_main("evaluate")(evaluate_program)()


def _hydra_main(name: str) -> Callable[[Callable], Callable[[], None]]:
    return hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=name)
