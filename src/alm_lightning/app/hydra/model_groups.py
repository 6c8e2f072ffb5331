"""The configuration groups ``student`` and ``teacher``: each file of ``conf/model/`` is in both."""

from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

GEMMA_TURN = "<start_of_turn>"
"""A student with this token chooses ``chat=gemma``: base models of Gemma have no template."""


def register_models(conf: Path) -> None:
    """Adds the options ``student=NAME`` and ``teacher=NAME`` to Hydra.

    A file of the group itself, such as ``conf/teacher/same.yaml`` or ``student/mine.yaml`` in a
    folder of ``--config-dir``, comes before an option that is added here.

    Args:
        conf: The folder with the configuration.
    """
    store = ConfigStore.instance()
    for file in sorted((conf / "model").glob("*.yaml")):
        model = f"/model/{file.stem}@_here_"
        chat = "gemma" if GEMMA_TURN in OmegaConf.load(file).special_tokens else "all"
        own = {"defaults": [model, {"/chat@_global_.chat": chat}]}
        store.store(file.stem, own, group="student")
        store.store(file.stem, {"defaults": [model]}, group="teacher")
