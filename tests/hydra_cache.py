"""Hydra composes a choice of groups once a process; values are set on a copy, by Hydra itself."""

import copy
from dataclasses import replace
from pathlib import Path

from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import IConfigRepository
from hydra._internal.defaults_list import DefaultsList, Overrides, create_defaults_list
from hydra.core.default_element import ResultDefault
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

COMPOSE = ConfigLoaderImpl._compose_config_from_defaults_list


class ComposedOnce:
    """Keeps what Hydra makes of files alone, for the thousand times that tests compose.

    Hydra first finds the files that the chosen groups need, then merges them, and then sets values
    of the command line. The first two steps are the same for the same choices, and are most of the
    time. A choice that fails is not kept.

    Args:
        conf: The folder whose files are known not to change. Where Hydra looks into any other
            folder, nothing is kept.
    """

    def __init__(self, conf: Path) -> None:
        self.conf = conf
        self.lists: dict[tuple, DefaultsList] = {}
        self.configs: dict[tuple, DictConfig] = {}

    def install(self) -> None:
        """Takes the place of both steps in Hydra."""
        config_loader_impl.create_defaults_list = self.defaults_list
        ConfigLoaderImpl._compose_config_from_defaults_list = lambda loader, defaults, repo: (
            self.config(loader, defaults, repo)
        )

    def is_known(self, repo: IConfigRepository) -> bool:
        """Whether a repository has files of the project and of Hydra alone."""
        paths = {source.full_path() for source in repo.get_sources() if source.path}
        return paths <= {f"file://{self.conf}", "pkg://hydra.conf", "structured://"}

    def defaults_list(
        self,
        repo: IConfigRepository,
        config_name: str,
        overrides_list: list[Override],
        prepend_hydra: bool,
        skip_missing: bool,
    ) -> DefaultsList:
        """The first step: files, by the choices alone."""
        settings = {"prepend_hydra": prepend_hydra, "skip_missing": skip_missing}
        if not self.is_known(repo):
            return create_defaults_list(repo, config_name, overrides_list, **settings)
        values = Overrides(repo=repo, overrides_list=overrides_list).config_overrides
        choices = [each for each in overrides_list if not any(each is value for value in values)]
        key = (config_name, *settings.values(), *(choice.input_line for choice in choices))
        if key not in self.lists:
            self.lists[key] = create_defaults_list(repo, config_name, choices, **settings)
        return replace(self.lists[key], config_overrides=values)

    def config(
        self, loader: ConfigLoaderImpl, defaults: list[ResultDefault], repo: IConfigRepository
    ) -> DictConfig:
        """The second step: a copy of the files, merged."""
        if not self.is_known(repo):
            return COMPOSE(loader, defaults, repo)
        key = tuple(map(repr, defaults))
        if key not in self.configs:
            self.configs[key] = COMPOSE(loader, defaults, repo)
        return copy.deepcopy(self.configs[key])
