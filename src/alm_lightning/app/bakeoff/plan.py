"""What a bake-off runs: objectives, learning rates and seeds, and what they are configured as."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from alm_lightning.app.bakeoff.checks import check_settings, check_weights

RATE = "budget.learning_rate"
OWN = {
    "objective": "bakeoff.objectives says which ones",
    "seed": "bakeoff.seeds says which ones",
    "ablation": "it changes the terms of one objective",
    "ckpt_path": "a bake-off finds the checkpoints of its own runs",
    "paths.output_dir": "each run has a folder of its own under hydra.sweep.dir",
}
"""What can't be said of all runs alike, and why."""
EXPECTED = {
    "objectives": ("names of conf/objective/, each once", "[next_token,alm]"),
    "learning_rates": ("numbers above 0, each once", "[1e-5,3e-5,1e-4]"),
    "factors": ("numbers above 0, each once", "[0.3,1,3]"),
    "seeds": ("whole numbers from 0 on, each once", "[0,1,2]"),
}
"""What the lists among the settings are made of, and an example of each."""


@dataclass(frozen=True)
class Run:
    """One run of a bake-off.

    Attributes:
        objective: Name of the objective.
        rate: Its peak learning rate, as it is written in overrides and folders.
        seed: The seed.
        folder: Where it writes.
        overrides: What `train.py` is told.
    """

    objective: str
    rate: str
    seed: int
    folder: Path
    overrides: tuple[str, ...]

    def __str__(self) -> str:
        """As tables and logs call it."""
        return f"{self.objective}, learning rate {self.rate}, seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """All that a bake-off may run.

    Attributes:
        folder: Where it writes.
        overrides: What all runs of an objective are told, by objective.
        configs: What they are configured as, by objective, unresolved.
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
        """One of its runs.

        Args:
            objective: Name of the objective.
            rate: One of `rates`.
            seed: One of `seeds`.

        Returns:
            The run.
        """
        folder = self.folder / objective / f"lr_{rate}" / f"seed_{seed}"
        own = (f"objective={objective}", f"{RATE}={rate}", f"seed={seed}")
        return Run(objective, rate, seed, folder, (*self.overrides[objective], *own))


def make_plan(
    settings: Mapping, folder: Path, said: Sequence[str], compose: Callable[[list[str]], DictConfig]
) -> Plan:
    """Composes what is to be run, so that a wrong setting is told before the first run.

    Args:
        settings: The node ``bakeoff`` of the configuration.
        folder: Where the bake-off writes.
        said: Overrides of the command line.
        compose: Composes a run's configuration from overrides.

    Returns:
        The plan.

    Raises:
        ValueError: A setting of the bake-off makes no sense, or an override can't be handed to
            its runs.
    """
    for name in ("objectives", "seeds", "factors"):
        _check_list(name, settings[name])
    check_settings(settings)
    shared = [override for override in _parsed(said) if not _is_of_bakeoff(override)]
    for override in shared:
        if override.key_or_group in OWN:
            raise ValueError(
                f"sweep=bakeoff can't hand {override.input_line} to its runs: "
                f"{OWN[override.key_or_group]}. Leave it out."
            )
    kept, configs, used = {}, {}, set()
    base = [override.input_line for override in shared if _term(override) is None]
    for objective in settings["objectives"]:
        terms = compose([*base, f"objective={objective}"]).objective
        # of settings of terms, each objective gets those of its own
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
    configured = next(iter(configs.values()))
    return Plan(folder, kept, configs, _rates(settings, configured), settings["seeds"], settings)


def _parsed(said: Sequence[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(list(said))


def _is_of_bakeoff(override: Override) -> bool:
    return override.key_or_group == "sweep" or override.key_or_group.split(".")[0] == "bakeoff"


def _term(override: Override) -> str | None:
    """The term of an objective that an override reaches into; none if it adds the term."""
    group, _, key = override.key_or_group.partition(".")
    return key.split(".")[0] if group == "objective" and key and not override.is_add() else None


def _rates(settings: Mapping, configured: Mapping) -> list[str]:
    if settings["learning_rates"] is None:
        base = configured["budget"]["learning_rate"]
        if not _is_positive(base):
            raise ValueError(f"{RATE} is {base!r}: expected a number above 0.")
        found = [base * factor for factor in settings["factors"]]
    else:
        _check_list("learning_rates", settings["learning_rates"])
        found = settings["learning_rates"]
    # from 1.5000000000000002e-05 to 1.5e-05, in folders and in the run alike
    return [f"{rate:.6g}" for rate in found]


def _check_list(name: str, values: object) -> None:
    is_right = isinstance(values, list) and values and len(set(map(str, values))) == len(values)
    if is_right and name == "objectives":
        is_right = all(isinstance(value, str) for value in values)
    elif is_right and name == "seeds":
        is_right = all(type(value) is int and value >= 0 for value in values)
    elif is_right:
        is_right = all(map(_is_positive, values))
    if not is_right:
        expected, example = EXPECTED[name]
        raise ValueError(
            f"bakeoff.{name} is {values!r}: expected a list of {expected}, such as "
            f"'bakeoff.{name}={example}'."
        )


def _is_positive(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and 0 < value < math.inf
