"""The name of a run: of its experiment, or of its models where the command line changes them."""

import re
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import InterpolationToMissingValueError

from alm_lightning.app.hydra.overrides import as_typed, parsed

MODELS = ("student", "teacher", "tokenizer")
"""Groups that change the name: an experiment's name fits only its own choices of them."""
ANYWHERE = ("hub", "folder")
"""Options for any model: the name is that of the model itself."""
PART_OF_A_RUN = re.compile(r"model|checkpoints|[\d_.-]+")
"""Last parts of a model's path that do not name it: the time of a run, and its subfolders."""


def name_run(
    config: DictConfig, overrides: Iterable[str], choices: DictConfig, swept: Iterable[str] = ()
) -> None:
    """Names a run by its models and tokenizer, where its experiment's name would be wrong.

    Args:
        config: The configuration; ``name`` is set where the experiment gives none, and where the
            command line changes one of `MODELS` and gives none.
        overrides: Of the command line.
        choices: The option of each group, by Hydra.
        swept: Keys that differ between the runs of a sweep, which has one name.
    """
    keys = [override.key_or_group for override in parsed(overrides)]
    if OmegaConf.is_missing(config, "name") and choices.get("experiment"):
        # an experiment of the user's own need not name itself
        with read_write(config):
            config.name = choices.experiment
    changed = [_model_of(key) for key in keys]
    if "name" in keys or not any(changed):
        return
    with read_write(config), open_dict(config):
        config.name = _made_of(config, choices, [_model_of(key) for key in swept])


def name_job(config: DictConfig) -> None:
    """Names the run of this Hydra job; each run of a sweep may have other models."""
    hydra, composed = HydraConfig.get(), OmegaConf.select(config, "name", default=None)
    name_run(config, as_typed(hydra.overrides.task), hydra.runtime.choices)
    kept = Path(hydra.runtime.output_dir) / str(hydra.output_subdir) / "config.yaml"
    if config.name != composed and kept.is_file():
        # Hydra wrote it before the run was named; evaluations read it
        OmegaConf.save(config, kept)


def _model_of(key: str) -> str | None:
    """The group of `MODELS` whose model a key changes; None for other keys."""
    group, _, rest = key.partition(".")
    is_other = rest.partition(".")[0] in ("", "name", "source")
    return group if group in MODELS and is_other else None


def _made_of(config: DictConfig, choices: DictConfig, swept: Collection[str | None]) -> str:
    def label(group: str) -> str:
        option = choices[group]
        if group in swept:
            # Hydra composes without the swept keys: there may be no name yet
            return f"{group}s"
        # of other options the name is not read: it may be that of a teacher which has none
        if option not in ANYWHERE:
            return _label(option, None)
        try:
            return _label(option, config[group].get("name"))
        except InterpolationToMissingValueError:
            # a path that was not given: the run will say so
            return _label(option, None)

    student = label("student")
    has_teacher = "teacher" in swept or choices.teacher not in ("same", "scores")
    teacher = label("teacher") if has_teacher else None
    if "tokenizer" not in swept and choices.tokenizer == "own":
        return f"{teacher or student}_to_{student}"
    tokenizer = label("tokenizer")
    return f"{student}_to_{tokenizer}" if teacher is None else f"{teacher}_to_{student}_{tokenizer}"


def _label(option: str, name: str | int | None) -> str:
    """The name of an option; of one that stands for any model, the last part of its own."""
    if option not in ANYWHERE or name is None:
        return option
    # a folder that is named for a year is a number to Hydra
    places = PurePosixPath(str(name)).parts
    parts = [part for part in places if part not in ("/", "~", ".", "..")]
    while len(parts) > 1 and PART_OF_A_RUN.fullmatch(parts[-1]):
        parts.pop()
    # a name is part of a path, and of an override
    label = re.sub(r"[^\w.-]+", "_", parts[-1]).strip("_.") if parts else ""
    return label or option
