"""What ``sweep=search`` changes: one folder that a later call goes on in, and a number for a run.

Hydra counts the jobs of a call; Optuna counts the trials of a study, over all calls. A run has the
number of its trial, so that its folder is its own, and the study can be told of it.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from alm_lightning.app.hydra.overrides import as_typed

if TYPE_CHECKING:
    import optuna

MARK = "search.json"
"""In the folder of a search: the settings that all its runs share, and what is searched."""
TRIAL = "search.trial"
"""The key of a run's number."""


def is_search(config: DictConfig) -> bool:
    """Whether ``sweep=search`` is chosen, whose file adds the node ``search``."""
    return "search" in config


def number_trial(config: DictConfig, trial: "optuna.Trial") -> None:
    """Gives a run the number of its trial, as Hydra's Optuna sweeper calls it for each.

    Args:
        config: The configuration of the sweep.
        trial: The trial, which gets a parameter with this one value.
    """
    trial.suggest_int(TRIAL, trial.number, trial.number)


def check_search(folder: Path, config: DictConfig) -> bool:
    """Whether a folder is that of the same search, which goes on there.

    Args:
        folder: That of the sweep.
        config: The configuration of the sweep, Hydra's node included.

    Returns:
        False where the folder is not that of a search.

    Raises:
        SystemExit: It is that of another one: figures of its runs can't be compared with these.
    """
    path = folder / MARK
    if not path.is_file():
        return False
    before, now = json.loads(path.read_text(encoding="utf-8")), _settings(config)
    changed = [
        f"{name}: {before.get(name)} then, {now.get(name)} now"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if changed:
        raise SystemExit(
            f"{folder} is the folder of a search with other settings ({'; '.join(changed)}). Give "
            "the same ones to go on, or another hydra.sweep.dir."
        )
    return True


def mark_search(folder: Path, config: DictConfig) -> None:
    """Makes the folder of a search, if there is none, and says in it what is searched.

    Args:
        folder: That of the sweep.
        config: The configuration of the sweep, Hydra's node included.
    """
    # before Optuna opens its storage there
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_settings(config), indent=2, ensure_ascii=False)
    (folder / MARK).write_text(text, encoding="utf-8")


def _settings(config: DictConfig) -> dict[str, Any]:
    overrides = sorted(as_typed(config.hydra.overrides.task))
    params = OmegaConf.to_container(config.hydra.sweeper)["params"]  # type: ignore[index,call-overload]
    return {"overrides": overrides, "searched": params}
