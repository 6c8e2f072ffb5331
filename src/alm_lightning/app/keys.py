"""Errors of a run in the words of its command line.

The library's errors name its arguments, as in ``steps is -1``; here they get the keys of `conf/`.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

PLACES = {
    "budget": (
        "steps",
        "batch_size",
        "micro_batch_size",
        "student_length",
        "teacher_length",
        "learning_rate",
        "evaluation_windows",
        "validate_every",
        "checkpoint_every",
    ),
    "trainer": ("precision", "strategy", "accelerator", "devices", "num_nodes"),
    "adapter": ("share_body", "train_embeddings"),
    "corpus": ("heldout_share", "split_seed", "split_by"),
    "chat": ("student_template", "teacher_template"),
    "schedule": ("warmup_share",),
    "student": ("dtype", "stop_tokens"),
    "teacher.scores": ("combine",),
    "windows.documents": ("heldout_documents",),
}
KEYS = {name: f"{place}.{name}" for place, names in PLACES.items() for name in names}
KEYS["teacher_weights"] = "teacher.scores.weights"
"""The keys of arguments that are called otherwise on the command line."""
TERMS = {
    "ALM": "objective.alm",
    "ALMHybrid": "objective.alm_hybrid",
    "HiddenStates": "objective.hidden_states",
    "NextByte": "objective.next_byte",
    "BytePrefix": "objective.bpm",
    "BLD": "objective.bld",
    "ESCD": "objective.escd",
    "DSKD": "objective.dskd",
    "GOLD": "objective.gold",
    "MinED": "objective.mined",
    "StrictOneToOne": "objective.strict_one_to_one",
    "ProjectedKL": "objective.xtoken_p_kl",
    "PolicyGradient": "objective.policy_gradient",
    "Fixed": "balance",
    "SampledGradMag": "balance",
}
"""Where the arguments of a class are on the command line: its errors open with its name."""
_TERM = re.compile(
    rf"(?<![\w.])(?P<name>{'|'.join(TERMS)})"
    r"(?:: (?P<argument>\w+)(?= is | has )|\((?P<set>\w+)=\"(?P<value>\w+)\"\))"
)
_NAMES = sorted(KEYS, key=len, reverse=True)
# what is quoted, and parts of paths and file names, are the user's own
_QUOTED = r"(?<!\w)'[^']*'|(?<!\w)\"[^\"]*\""
_BEFORE = r"(?<![\w./\\'\"-])"
# a name without an underscore may be a word like any other, unless a value follows it
_ARGUMENT = re.compile(
    rf"{_QUOTED}"
    rf"|{_BEFORE}(?:{'|'.join(n for n in _NAMES if '_' in n)})(?![\w/\\'\"-]|\.\w)"
    rf"|{_BEFORE}(?:{'|'.join(n for n in _NAMES if '_' not in n)})(?==| is )"
)


def with_keys(message: str) -> str:
    """An error of the library for those who use the command line.

    Args:
        message: It may name arguments of `alm_lightning.distill`.

    Returns:
        The same with keys of `conf/`.

    Example:
        >>> with_keys("steps is -1: expected a whole number of at least 0.")
        'budget.steps is -1: expected a whole number of at least 0.'
        >>> with_keys("after 3 steps, budget.batch_size is 4; raise student_length")
        'after 3 steps, budget.batch_size is 4; raise budget.student_length'
        >>> with_keys('ALM: debias is 3; take HiddenStates(projection="linear")')
        'objective.alm.debias is 3; take objective.hidden_states.projection=linear'
    """
    # the terms first: some have arguments of the same name as a run
    message = _TERM.sub(_term_key, message)

    def key(match: re.Match[str]) -> str:
        name = match[0]
        # a message may name the key as well, in parentheses
        return name if name not in KEYS or KEYS[name] in message else KEYS[name]

    return _ARGUMENT.sub(key, message)


def _term_key(match: re.Match[str]) -> str:
    place = TERMS[match["name"]]
    return f"{place}.{match['argument'] or match['set'] + '=' + match['value']}"


@contextmanager
def keys_in_errors() -> Iterator[None]:
    """Errors that are raised within name keys in place of arguments."""
    try:
        yield
    except Exception as error:
        # what is shown of an error of Hydra's instantiate is its cause
        cause: BaseException | None = error
        while cause is not None:
            if len(cause.args) == 1 and isinstance(cause.args[0], str):
                cause.args = (with_keys(cause.args[0]),)
            cause = cause.__cause__
        raise
