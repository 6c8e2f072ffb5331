"""The configuration groups ``student`` and ``teacher``: each file of ``conf/model/`` is in both."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

GEMMA_TURN = "<start_of_turn>"
"""A student with this token chooses ``chat=gemma``: base models of Gemma have no template."""


def register_models(conf: Path) -> None:
    """Adds the options ``student=NAME`` and ``teacher=NAME`` to Hydra.

    A file of the group itself, such as ``conf/teacher/same.yaml`` or ``student/mine.yaml`` in a
    folder of ``--config-dir``, takes the place of an option that would be added here.

    Args:
        conf: The folder with the configuration. The models of ``--config-dir`` are added as well.
    """
    folders = [conf, *config_dirs(sys.argv[1:])]
    # of two files of one name Hydra reads the one of conf
    models = {
        file.stem: file
        for folder in reversed(folders)
        for file in sorted((folder / "model").glob("*.yaml"))
    }
    store = ConfigStore.instance()
    for name, file in models.items():
        model = f"/model/{name}@_here_"
        special_tokens = OmegaConf.load(file).get("special_tokens") or ()
        chat = "gemma" if GEMMA_TURN in special_tokens else "all"
        options = {
            "student": [model, {"/chat@_global_.chat": chat}],
            "teacher": [model],
        }
        for group, defaults in options.items():
            if not any((folder / group / f"{name}.yaml").is_file() for folder in folders):
                store.store(name, {"defaults": defaults}, group=group)


def config_dirs(arguments: Sequence[str]) -> list[Path]:
    """The folder that Hydra's ``--config-dir`` names, which must be known before Hydra starts.

    Args:
        arguments: Of the command line.

    Returns:
        The folder, or none.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd", type=Path)
    folder = parser.parse_known_args(list(arguments))[0].config_dir
    return [] if folder is None else [folder]
