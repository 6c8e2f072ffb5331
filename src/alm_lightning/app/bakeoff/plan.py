"""What a bake-off runs: objectives, learning rates and seeds, and their configurations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from alm_lightning.app.bakeoff.checks import check_settings, check_weights, is_positive
from alm_lightning.app.hydra.overrides import parsed

RATE = "budget.learning_rate"
OWN = {
    "objective": "bakeoff.objectives says which ones",
    "seed": "bakeoff.seeds says which ones",
    "ablation": "it changes the terms of one objective",
    "ckpt_path": "a bake-off finds the checkpoints of its own runs",
    "paths.output_dir": "each run has a folder of its own under hydra.sweep.dir",
}
"""Overrides that can't be the same for all runs, and why."""


@dataclass(frozen=True)
class Run:
    """One run of a bake-off.

    Attributes:
        objective: Name of the objective.
        rate: Its peak learning rate, as it is written in overrides and folders.
        seed: The seed.
        folder: Where it writes.
        overrides: Of train.py.
    """

    objective: str
    rate: str
    seed: int
    folder: Path
    overrides: tuple[str, ...]

    def __str__(self) -> str:
        """Its name in tables and logs."""
        return f"{self.objective}, learning rate {self.rate}, seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """All that a bake-off may run.

    Attributes:
        folder: Where it writes.
        overrides: Overrides that all runs of an objective share, by objective.
        configs: Their configurations, unresolved, by objective.
        rates: Learning rates to choose from.
        seeds: Seeds; the first one chooses.
        settings: The node ``bakeoff`` of the configuration.
    """

    folder: Path
    overrides: Mapping[str, Sequence[str]]
    configs: Mapping[str, Mapping]
    rates: Sequence[str]
    seeds: Sequence[int]
    settings: Mapping

    def run(self, objective: str, rate: str, seed: int) -> Run:
        """One of its runs, at one of `rates` and with one of `seeds`."""
        folder = self.folder / objective / f"lr_{rate}" / f"seed_{seed}"
        own = (f"objective={objective}", f"{RATE}={rate}", f"seed={seed}")
        return Run(objective, rate, seed, folder, (*self.overrides[objective], *own))


def make_plan(
    settings: Mapping,
    folder: Path,
    overrides: Sequence[str],
    compose: Callable[[list[str]], DictConfig],
) -> Plan:
    """Composes the configurations of all objectives, so that a wrong setting is found at once.

    Args:
        settings: The node ``bakeoff`` of the configuration.
        folder: Where the bake-off writes.
        overrides: Of the command line.
        compose: Composes a run's configuration from overrides.

    Returns:
        The plan.

    Raises:
        ValueError: A setting of the bake-off is wrong, or an override can't be passed to its runs.
    """
    check_settings(settings)
    shared = [override for override in parsed(overrides) if not _is_of_bakeoff(override)]
    for override in shared:
        if override.key_or_group in OWN:
            raise ValueError(
                f"sweep=bakeoff can't pass {override.input_line} to its runs: "
                f"{OWN[override.key_or_group]}. Leave it out."
            )
    kept, configs, used = {}, {}, set()
    base = [override.input_line for override in shared if _term(override) is None]
    for objective in settings["objectives"]:
        terms = compose([*base, f"objective={objective}"]).objective
        # each objective gets the settings of its own terms
        own = [each for each in shared if _term(each) is None or _term(each) in terms]
        used.update(override.input_line for override in own)
        cfg = compose([*(override.input_line for override in own), f"objective={objective}"])
        configs[objective] = OmegaConf.to_container(cfg, resolve=False)
        # the rate comes with each run
        kept[objective] = [override.input_line for override in own if override.key_or_group != RATE]
    lost = [override.input_line for override in shared if override.input_line not in used]
    if lost:
        raise ValueError(
            f"{', '.join(lost)}: none of bakeoff.objectives ({', '.join(configs)}) has such a "
            "term. `python train.py objective=... --cfg job` shows the terms of one."
        )
    check_weights(configs)
    rates = _rates(settings, next(iter(configs.values())))
    return Plan(folder, kept, configs, rates, settings["seeds"], settings)


def _is_of_bakeoff(override: Override) -> bool:
    return override.key_or_group == "sweep" or override.key_or_group.split(".")[0] == "bakeoff"


def _term(override: Override) -> str | None:
    """The term of an objective that an override reaches into; none if it adds the term."""
    group, _, key = override.key_or_group.partition(".")
    return key.split(".")[0] if group == "objective" and key and not override.is_add() else None


def _rates(settings: Mapping, config: Mapping) -> list[str]:
    rates = settings["learning_rates"]
    if rates is None:
        base = config["budget"]["learning_rate"]
        if not is_positive(base):
            raise ValueError(f"{RATE} is {base!r}: expected a number above 0.")
        rates = [base * factor for factor in settings["factors"]]
    # from 1.5000000000000002e-05 to 1.5e-05, in folders and in the run alike
    return [f"{rate:.6g}" for rate in rates]
