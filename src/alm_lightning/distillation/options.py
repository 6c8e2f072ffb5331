"""Objects by the names that they have in `conf/`, with the same settings (a test compares them)."""

from collections.abc import Callable, Mapping
from dataclasses import is_dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch
from transformers import PreTrainedModel

from alm_lightning.alignment.boundaries import ChunkSelection, Finest, Whitespace
from alm_lightning.models.adapters import FullFineTuning, LowRank
from alm_lightning.models.embeddings.fvt import FastVocabularyTransfer
from alm_lightning.models.embeddings.simple import Keep, Mean
from alm_lightning.models.own_vocabulary import OwnVocabulary
from alm_lightning.models.speed import Speed
from alm_lightning.models.vocabulary import BytesFromOldTokens, NewVocabulary
from alm_lightning.objectives.alm import ALM
from alm_lightning.objectives.combine import Balance, GradMag, GradNorm
from alm_lightning.objectives.hidden_states import HiddenStates
from alm_lightning.objectives.next_byte import NextByte
from alm_lightning.objectives.next_token import NextToken
from alm_lightning.objectives.objective import Objective
from alm_lightning.objectives.sampled import SampledGradMag

Option = TypeVar("Option")

TRAINER: Mapping[str, Any] = {
    "strategy": "auto",
    "max_epochs": 1,
    "num_sanity_val_steps": 0,
    "check_val_every_n_epoch": None,
    "log_every_n_steps": 1,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
}
"""What Lightning's trainer is called with, as in conf/trainer."""
OPTIMIZER: Mapping[str, Any] = {"betas": (0.9, 0.95), "weight_decay": 0.0, "fused": True}
WARMUP_SHARE = 0.1

_ALM = partial(ALM, temperature=5, threshold=0.1, debias=True, divergence="kl")
_HIDDEN_STATES = partial(HiddenStates, projection=None, learning_rate=1e-3, fades_by=None)
_NEXT_BYTE = partial(NextByte, end="drop", positions="token_starts", divergence="kl")
OBJECTIVES: Mapping[str, Mapping[str, Callable[[], Objective]]] = {
    "alm": {"alm": _ALM},
    "next_token": {"next_token": NextToken},
    "hidden_states": {"hidden_states": _HIDDEN_STATES},
    "alm_next_token": {"alm": _ALM, "next_token": NextToken},
    "alm_next_token_hidden": {
        "alm": _ALM,
        "next_token": NextToken,
        "hidden_states": _HIDDEN_STATES,
    },
    "next_byte": {"next_byte": _NEXT_BYTE, "next_token": NextToken},
    "next_byte_alone": {"next_byte": _NEXT_BYTE},
    "next_byte_alm": {"next_byte": _NEXT_BYTE, "alm": _ALM, "next_token": NextToken},
    "next_byte_hidden": {
        "next_byte": _NEXT_BYTE,
        "hidden_states": partial(_HIDDEN_STATES, fades_by=0.5),
    },
}
"""Terms by name, by the name of an objective."""
ALIGNMENTS: Mapping[str, Callable[[], ChunkSelection]] = {
    "finest": Finest,
    "whitespace": Whitespace,
}
ADAPTERS: Mapping[str, Callable[[], FullFineTuning | LowRank]] = {
    "full": FullFineTuning,
    "lora": partial(LowRank, rank=64, alpha=64, share_body=True, train_embeddings=True),
}
BALANCES: Mapping[str, Callable[[], Balance]] = {
    "gradmag": GradMag,
    "gradmag_sampled": partial(SampledGradMag, every=10, decay=0.5),
    "gradnorm": partial(GradNorm, alpha=1.5, lr=0.025),
}
SPEEDS: Mapping[str, Callable[[], Speed]] = {
    "none": Speed,
    "gpu": partial(Speed, attention="auto", checkpointing=True, compile=True),
}


def embeddings(seed: int) -> Mapping[str, Callable[[], Callable[..., PreTrainedModel]]]:
    """Ways to make a student's embeddings, by name.

    Args:
        seed: Of embeddings that are drawn.

    Returns:
        Functions that make them.
    """
    # what is trained is held in float32
    dtype = torch.float32
    new = partial(NewVocabulary, dtype=dtype)
    return {
        "bytes": partial(BytesFromOldTokens, expansion=True, train_expansion=False, dtype=dtype),
        "fvt": lambda: new(initialisation=FastVocabularyTransfer()),
        "keep": lambda: new(initialisation=Keep(seed=seed)),
        "mean": lambda: new(initialisation=Mean()),
        "own": partial(OwnVocabulary, dtype=dtype),
    }


def option(name: str, value: str | Option, options: Mapping[str, Callable[[], Option]]) -> Option:
    """An object, or the one that a name stands for.

    Args:
        name: The argument's name, for errors.
        value: An object or a name.
        options: By name, functions that make one.

    Returns:
        The object.

    Raises:
        ValueError: There is no such name.
    """
    if not isinstance(value, str):
        return value
    if value not in options:
        raise ValueError(
            f"{name} is {value!r}: expected one of {', '.join(sorted(options))}, or an object."
        )
    return options[value]()


def adapter_of(
    value: str | FullFineTuning | LowRank, *, can_share: bool
) -> FullFineTuning | LowRank:
    """An adapter, or the one that a name stands for.

    Args:
        value: An object, or a name of `ADAPTERS`.
        can_share: Whether the teacher is the model that the student starts as; else a named adapter
            has a copy of the frozen weights.

    Returns:
        The adapter.
    """
    if not isinstance(value, str):
        return value
    made: FullFineTuning | LowRank = option("adapter", value, ADAPTERS)
    if isinstance(made, LowRank) and not can_share:
        return replace(made, share_body=False)
    return made


def terms(objective: str | Objective | Mapping[str, Objective]) -> dict[str, Objective]:
    """The terms of a loss, by name.

    Args:
        objective: A name of `OBJECTIVES`, one term, or terms by name.

    Returns:
        The terms.

    Raises:
        ValueError: There is no such name.
        TypeError: A term is not an `Objective`.
    """
    if isinstance(objective, str):
        makers = {key: partial(_made, made) for key, made in OBJECTIVES.items()}
        return option("objective", objective, makers)
    if isinstance(objective, Objective):
        return {type(objective).__name__.lower(): objective}
    found = dict(objective) if isinstance(objective, Mapping) else {"objective": objective}
    for name, term in found.items():
        if not isinstance(term, Objective):
            raise TypeError(
                f"{name} of the objective is a {type(term).__name__}: expected an Objective."
            )
    return found


def _made(terms: Mapping[str, Callable[[], Objective]]) -> dict[str, Objective]:
    return {name: make() for name, make in terms.items()}


def described_each(**values: object) -> dict[str, object]:
    """Objects for a model card, by name; what is None is left out."""
    return {name: described(value) for name, value in values.items() if value is not None}


def described(value: object) -> dict[str, object]:
    """An object for a model card: its class, and those of its settings that are plain values.

    Settings that are a dataclass, such as the engine of own answers, are described within.
    """
    settings = {
        name: described(setting) if is_dataclass(setting) else setting
        for name, setting in vars(value).items()
        if isinstance(setting, str | int | float) or is_dataclass(setting)
        if not name.startswith("_")
    }
    # of modules: in which mode they are
    settings.pop("training", None)
    return {"class": type(value).__name__, **settings}
