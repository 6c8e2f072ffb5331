"""Checks of a bake-off's settings, before its first run."""

import math
from collections.abc import Callable, Mapping

from hydra.utils import get_object

from alm_lightning.objectives.combine import Fixed

BITS = ("teacher", "student_before", "student_after")
GAPS = tuple(
    f"gap_closed.{name}.{figure}"
    for name in ("heldout", "other")
    for figure in ("bits_per_byte", "chunk_difference")
)
CRITERIA = (
    *(f"{node}.{end}" for node in ("bits_per_byte", "bits_per_byte_other") for end in BITS),
    *(f"chunk_difference.{end}" for end in ("before", "after", "before_other", "after_other")),
    *GAPS,
    "seconds.total",
    "seconds.train",
    "seconds.per_step",
    "peak_memory_bytes",
)
"""Figures of summary.json (`distillation.figures.summary_of`) that a rate may be chosen by."""


def is_positive(value: object) -> bool:
    """Whether a setting is a finite number above 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _is_list(values: object, is_right: Callable[[object], bool]) -> bool:
    """Whether a setting is a list, not empty, of different values of the right kind."""
    if not isinstance(values, list) or not values or len(set(map(str, values))) < len(values):
        return False
    return all(map(is_right, values))


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_argument(value: object) -> bool:
    """Whether a setting is an argument of evaluate.py that a bake-off does not give itself."""
    if not isinstance(value, str):
        return False
    key = value.lstrip("+~").partition("=")[0]
    return key not in OWN_ARGUMENTS and not key.startswith("model.")


OWN_ARGUMENTS = ("model", "paths.output_dir", "hydra.run.dir")
"""What a bake-off gives evaluate.py: the model of a run, and a folder in that of the run."""

RULES: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "objectives": (
        lambda value: _is_list(value, _is_text),
        "a list of names of conf/objective/, each once, such as "
        "'bakeoff.objectives=[next_token,alm]'",
    ),
    "seeds": (
        lambda value: _is_list(value, lambda seed: type(seed) is int and seed >= 0),
        "a list of whole numbers from 0 on, each once, such as 'bakeoff.seeds=[0,1,2]'",
    ),
    "learning_rates": (
        lambda value: value is None or _is_list(value, is_positive),
        "null or a list of numbers above 0, each once, such as "
        "'bakeoff.learning_rates=[1e-5,3e-5,1e-4]'",
    ),
    "factors": (
        lambda value: _is_list(value, is_positive),
        "a list of numbers above 0, each once, such as 'bakeoff.factors=[0.3,1,3]'",
    ),
    "criterion": (
        lambda value: value in CRITERIA,
        f"a number of summary.json, one of {', '.join(CRITERIA)}",
    ),
    "lower_is_better": (
        lambda value: isinstance(value, bool),
        "true or false, such as bakeoff.lower_is_better=false for gap_closed",
    ),
    "evaluate": (
        lambda value: value is None or (isinstance(value, list) and all(map(_is_argument, value))),
        "null or a list of arguments of evaluate.py other than the model and the output folder, "
        'such as \'bakeoff.evaluate=["harness=gsm8k","harness.gsm8k.path=x.jsonl"]\'',
    ),
    "keep_models": (
        lambda value: value in ("all", "chosen"),
        "all, or chosen for those of the learning rates that are chosen",
    ),
    "jobs": (
        lambda value: type(value) is int and value >= 1,
        "the number of runs at a time, 1 or more, such as bakeoff.jobs=2",
    ),
    "baseline": (
        lambda value: value is None or _is_text(value),
        "the name of an objective, or null, such as bakeoff.baseline=next_token",
    ),
}
"""For each setting: whether a value is right, and what is expected."""


def check_settings(settings: Mapping) -> None:
    """Refuses settings that would end a bake-off after its first run.

    Args:
        settings: The node ``bakeoff`` of the configuration.

    Raises:
        ValueError: A value breaks its rule. A baseline that does not take part is no error.
    """
    for name, (is_right, expected) in RULES.items():
        if not is_right(settings[name]):
            raise ValueError(f"bakeoff.{name} is {settings[name]!r}: expected {expected}.")


def check_weights(configs: Mapping[str, Mapping]) -> None:
    """Refuses fixed weights that lack a term: `Fixed.setup` would, once the models are loaded.

    Args:
        configs: Configurations of runs, by objective.

    Raises:
        ValueError: A term of an objective has no weight.
    """
    missing = {}
    for objective, config in configs.items():
        balance = config["balance"]
        target = get_object(balance["_target_"])
        if not (isinstance(target, type) and issubclass(target, Fixed)):
            continue
        # a term that is set to null is not in the loss
        terms = [name for name, term in config["objective"].items() if term is not None]
        lacking = [term for term in terms if term not in balance["weights"]]
        if lacking:
            missing[objective] = lacking
    if missing:
        listed = "; ".join(f"{name}: {', '.join(terms)}" for name, terms in missing.items())
        weights = dict.fromkeys(term for terms in missing.values() for term in terms)
        example = " ".join(f"+balance.weights.{term}=1" for term in weights)
        raise ValueError(
            f"balance=fixed has no weight for terms of these objectives: {listed}. Give them, as "
            f"in `{example}`, or leave out balance=fixed."
        )
