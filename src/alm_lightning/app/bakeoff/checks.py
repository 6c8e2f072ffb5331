"""Settings of a bake-off that would be wrong only after its first run, told before it."""

from collections.abc import Mapping

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
"""Figures of summary.json (`report.make_summary`) that a rate may be chosen by."""
KEPT = ("all", "chosen")
FIXED = "alm_lightning.objectives.combine.Fixed"


def check_settings(settings: Mapping) -> None:
    """Refuses what would end a bake-off after its first run.

    Args:
        settings: The node ``bakeoff`` of the configuration.

    Raises:
        ValueError: The criterion is no figure of summary.json, its direction is no truth value,
            the arguments of evaluate.py are no list of texts, the models to keep are none that
            there are, the number of jobs is none, or the baseline is no name. A baseline that takes
            no part is none.
    """
    given = settings["criterion"]
    if given not in CRITERIA:
        raise ValueError(
            f"bakeoff.criterion is {given!r}: summary.json has no such number. Expected one of "
            f"{', '.join(CRITERIA)}."
        )
    given = settings["lower_is_better"]
    if not isinstance(given, bool):
        raise ValueError(
            f"bakeoff.lower_is_better is {given!r}: expected true or false, such as "
            "bakeoff.lower_is_better=false for gap_closed."
        )
    given = settings["evaluate"]
    is_list = isinstance(given, list) and all(isinstance(each, str) for each in given)
    if given is not None and not is_list:
        raise ValueError(
            f"bakeoff.evaluate is {given!r}: expected null or a list of arguments of evaluate.py, "
            'such as \'bakeoff.evaluate=["harness=gsm8k","harness.gsm8k.path=x.jsonl"]\'.'
        )
    given = settings["keep_models"]
    if given not in KEPT:
        raise ValueError(
            f"bakeoff.keep_models is {given!r}: expected all, or chosen for those of the learning "
            "rates that are chosen."
        )
    given = settings["jobs"]
    if type(given) is not int or given < 1:
        raise ValueError(
            f"bakeoff.jobs is {given!r}: expected how many runs are at work at a time, 1 or more, "
            "such as bakeoff.jobs=2."
        )
    given = settings["baseline"]
    if given is not None and not isinstance(given, str):
        raise ValueError(
            f"bakeoff.baseline is {given!r}: expected the name of an objective, or null, such as "
            "bakeoff.baseline=next_token."
        )


def check_weights(configs: Mapping[str, Mapping]) -> None:
    """Refuses fixed weights that lack a term: `Fixed.setup` would, once the models are loaded.

    Args:
        configs: What runs are configured as, by objective.

    Raises:
        ValueError: A term of an objective has no weight.
    """
    missing = {}
    for objective, config in configs.items():
        balance = config["balance"]
        if balance["_target_"] != FIXED:
            continue
        # one that is set to null is left out of the loss
        terms = [name for name, term in config["objective"].items() if term is not None]
        lacking = [term for term in terms if term not in balance["weights"]]
        if lacking:
            missing[objective] = lacking
    if missing:
        told = "; ".join(f"{name}: {', '.join(terms)}" for name, terms in missing.items())
        weights = dict.fromkeys(term for terms in missing.values() for term in terms)
        example = " ".join(f"+balance.weights.{term}=1" for term in weights)
        raise ValueError(
            f"balance=fixed has no weight for terms of these objectives: {told}. Give them, as in "
            f"`{example}`, or leave out balance=fixed."
        )
