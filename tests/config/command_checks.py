"""Whether a command would start: its arguments are read as the program itself reads them."""

import argparse
import contextlib
import functools
import importlib.util
import io
import itertools
import pkgutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from unittest import mock

import hydra_plugins
import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from tests.runs import REPOSITORY

from alm_lightning.app.bakeoff.plan import make_plan
from alm_lightning.app.commands import bias as bias_command
from alm_lightning.app.commands import gguf as gguf_command
from alm_lightning.app.commands import inspect as inspect_command
from alm_lightning.app.commands import sweep_page as sweep_page_command
from alm_lightning.app.commands import workspace as workspace_command
from alm_lightning.app.evaluate.arguments import model_arguments
from alm_lightning.app.evaluate.harnesses import plan_harnesses
from alm_lightning.app.evaluate.models import find_model
from alm_lightning.app.evaluate.plan import check_ensemble, named_models
from alm_lightning.app.hydra.arguments import place_arguments
from alm_lightning.app.hydra.bakeoff_mode import is_bakeoff
from alm_lightning.app.hydra.callbacks import RefuseExistingFolder
from alm_lightning.app.hydra.sweep_checks import refuse_lists
from alm_lightning.app.keys import keys_in_errors
from alm_lightning.app.scoring import scoring_of
from alm_lightning.app.train.build import LOADED, plan_of
from alm_lightning.app.train.checks import check_settings

CONF, BENCHMARKS = REPOSITORY / "conf", REPOSITORY / "benchmarks"
MODELS = CONF / "model"
MODULES = {
    "alm_lightning.inspect": inspect_command,
    "alm_lightning.bias": bias_command,
    "alm_lightning.gguf": gguf_command,
    "alm_lightning.sweep_page": sweep_page_command,
    "alm_lightning.wandb_workspace": workspace_command,
}
"""Programs that are started by `python -m`, and where their parsers are."""
PROGRAMS = {
    "alm_lightning.app.train": "train.py",
    "alm_lightning.app.evaluate": "evaluate.py",
}
"""Those with a script at the top of the repository as well."""
ANY_MODEL = ("a", "b", "c", "MODEL", "PATH", "...")
"""Names that stand for any model, as every path does."""
NOWHERE = "paths.output_dir=no-such-folder/of-these-tests"
"""Where runs would write, and none does."""
BAKEOFF = ["alm_next_token", "next_token"]
"""Objectives that a bake-off is planned with; test_bakeoff.py composes all of them."""
PLUGINS = {
    "hydra/launcher=joblib": "hydra_joblib_launcher",
    "hydra/launcher=ray": "hydra_ray_launcher",
    "hydra/launcher=submitit": "hydra_submitit_launcher",
    "hydra/sweeper=optuna": "hydra_optuna_sweeper",
    "sweep=search": "hydra_optuna_sweeper",
}
"""Beginnings of overrides that need a plugin of Hydra's: without it they can't be composed."""
VLLM, TRANSFORMERS = (
    f"alm_lightning.training.on_policy.{engine}Settings" for engine in ("Vllm", "Transformers")
)
STUDY = "callbacks.prune.storage=no-such-database"
"""What only a running job of a search knows."""
RUNS_OF_A_BENCHMARK = 3
"""So many are composed; those of objectives.py beyond differ in their objective alone."""


@functools.cache
def check(words: tuple[str, ...], is_inline: bool) -> None:
    """Raises whatever is wrong with a command.

    Args:
        words: `python`, and what follows.
        is_inline: Whether a bare name may stand for the program, as in prose.
    """
    program, *arguments = words[1:]
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)), a_gpu():
        if program == "-m" and arguments and arguments[0] in PROGRAMS:
            program, *arguments = PROGRAMS[arguments[0]], *arguments[1:]
        if program in ("train.py", "evaluate.py") or arguments[:1] == ["alm_lightning.score"]:
            arguments = place_arguments(arguments, CONF)
        if program == "train.py":
            _train(arguments)
        elif program == "evaluate.py":
            _evaluate(arguments)
        elif program == "-m" and arguments and arguments[0] == "alm_lightning.score":
            for cfg, _ in _configurations("score", arguments[1:]):
                _is_complete(cfg)
                with keys_in_errors():
                    scoring_of(cfg)
        elif program == "-m" and arguments and arguments[0] in MODULES:
            _parse(MODULES[arguments[0]], arguments[1:], is_inline)
        elif Path(program).parent.name == BENCHMARKS.name and (REPOSITORY / program).is_file():
            _benchmark(Path(program).stem, arguments, is_inline)
        else:
            raise LookupError(f"no check knows {' '.join(words[:3])}")


@contextlib.contextmanager
def a_gpu() -> Iterator[None]:
    """Commands for a GPU are shown for machines that have one."""
    with contextlib.ExitStack() as patches:
        for module in ("train.checks", "scoring"):
            name = f"alm_lightning.app.{module}.check_accelerator"
            patches.enter_context(mock.patch(name, return_value=None))
        yield


def _train(arguments: Sequence[str]) -> None:
    for cfg, said in _configurations("train", arguments):
        if is_bakeoff(cfg):
            _bakeoff(cfg, said)
        else:
            _starts(cfg)


def _starts(cfg: DictConfig) -> None:
    """A run gets as far as its plan: nothing is read or loaded yet."""
    _is_complete(cfg)
    with keys_in_errors():
        check_settings(cfg)
        if "scores" in cfg.teacher:
            # there is no such store here: the plan is made with another teacher
            cfg.teacher = {key: cfg.student[key] for key in ("name", "licence", *LOADED)}
        if cfg.on_policy.engine._target_ == VLLM:
            # there is no GPU here: the plan is made with another engine
            cfg.on_policy.engine = {"_target_": TRANSFORMERS}
        plan_of(cfg)


def _bakeoff(cfg: DictConfig, said: Sequence[str]) -> None:
    _is_complete(cfg)
    refuse_lists(said)
    settings = OmegaConf.to_container(cfg.bakeoff, resolve=True)
    if not any(override.startswith("bakeoff.objectives=") for override in said):
        settings["objectives"] = BAKEOFF
    plan = make_plan(settings, Path(), said, lambda overrides: _composed("train", overrides)[0])
    for config in plan.configs.values():
        _starts(OmegaConf.create(config))


def _evaluate(arguments: Sequence[str]) -> None:
    for cfg, _ in _configurations("evaluate", model_arguments(arguments)):
        _is_complete(cfg)
        models = named_models(cfg.model)
        for model in models:
            if model not in ANY_MODEL and "/" not in model:
                find_model(model, MODELS)
        if cfg.model.kind == "ensemble":
            ways = cfg.model.combine
            ways = [ways] if isinstance(ways, str) else list(ways)
            weights = cfg.model.weights
            check_ensemble(
                ways, list(weights) if OmegaConf.is_list(weights) else weights, len(models)
            )
        plan_harnesses(cfg.harness, MODELS, cfg.dtype, cfg.device)


def _configurations(
    name: str, arguments: Sequence[str]
) -> Iterator[tuple[DictConfig, Sequence[str]]]:
    """What a command line composes, each with its overrides: one, or those of a multirun."""
    said = _parsed(get_args_parser(), arguments)
    if said is None or said.help or said.shell_completion or _lacks_plugin(said.overrides):
        return
    if "sweep=search" in said.overrides:
        said.overrides += [STUDY, "search.trial=0"]
    first = _jobs(said.overrides)[0] if said.multirun else said.overrides
    cfg, own = _composed(name, first)
    if not said.multirun and own.mode != RunMode.MULTIRUN:
        if name == "train":
            RefuseExistingFolder().on_run_start(OmegaConf.merge({"hydra": own}, cfg))
        yield cfg, said.overrides
        return
    swept = [f"{key}={values}" for key, values in (own.sweeper.params or {}).items()]
    for job in _jobs([*swept, *said.overrides]):
        yield (cfg if job == first else _composed(name, job)[0]), said.overrides


def _lacks_plugin(overrides: Sequence[str]) -> bool:
    needed = {
        module
        for beginning, module in PLUGINS.items()
        if any(override.startswith(beginning) for override in overrides)
    }
    found = {module.name for module in pkgutil.iter_modules(hydra_plugins.__path__)}
    return not needed <= found


def _jobs(overrides: Sequence[str]) -> list[list[str]]:
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    # of the values between two, the first one
    parsed = [
        _parsed_again(override.get_key_element(), override.value().start)
        if override.is_interval_sweep()
        else override
        for override in parsed
    ]
    (jobs,) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    return jobs


def _parsed_again(key: str, value: float) -> Override:
    return OverridesParser.create().parse_override(f"{key}={value}")


def _composed(name: str, overrides: Sequence[str]) -> tuple[DictConfig, DictConfig]:
    """A configuration, and Hydra's own settings."""
    return _composed_once(name, tuple(overrides))


@functools.cache
def _composed_once(name: str, overrides: tuple[str, ...]) -> tuple[DictConfig, DictConfig]:
    cfg = compose(name, [NOWHERE, *overrides], return_hydra_config=True)
    with open_dict(cfg):
        own = cfg.pop("hydra")
    return cfg, own


def _is_complete(cfg: DictConfig) -> None:
    OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)


def _benchmark(name: str, arguments: Sequence[str], is_inline: bool) -> None:
    module = benchmark(name)
    if hasattr(module, "_parser"):
        _parse(module, arguments, is_inline)
        return
    for overrides in itertools.islice(module.runs(list(arguments)).values(), RUNS_OF_A_BENCHMARK):
        _starts(_composed("train", overrides)[0])


@functools.cache
def benchmark(name: str) -> ModuleType:
    """A benchmark as a module.

    Args:
        name: Of its file, without the ending.

    Returns:
        The module, with a `_parser` of its arguments, or the `runs` that it composes.
    """
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        # they import one another; and the environment stays what it was
        patch.syspath_prepend(BENCHMARKS)
        patch.setenv("TOKENIZERS_PARALLELISM", "false")
        spec.loader.exec_module(module)
    return module


def _parse(module: ModuleType, arguments: Sequence[str], is_inline: bool) -> None:
    parser = module._parser()
    # in prose the name alone names the program
    if arguments or not is_inline:
        _parsed(parser, arguments)


def _parsed(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace | None:
    """The arguments as a parser reads them; nothing where it shows its help and ends."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            return parser.parse_args(arguments)
        except SystemExit as left:
            if left.code:
                raise ValueError(said.getvalue().strip().splitlines()[-1]) from left
    return None
