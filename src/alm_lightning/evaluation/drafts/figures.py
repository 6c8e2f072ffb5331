"""Figures of drafts, from the records of prompts."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from alm_lightning.evaluation.drafts.ways import ASSISTED
from alm_lightning.evaluation.estimates import ratio, share
from alm_lightning.evaluation.harness import Figure, Record


def draft_figures(records: Sequence[Record]) -> dict[str, Figure]:
    """Figures of every way to draft that was measured, those of others than the draft by name.

    Args:
        records: Of all prompts, as `suites.draft` makes them.

    Returns:
        Figures by name, in the order to show them.
    """
    figures: dict[str, Figure] = {}
    for way in records[0]["ways"]:
        own = _of_way([record["ways"][way] for record in records], records)
        suffix = "" if way == ASSISTED else f"_{way}"
        figures |= {f"{name}{suffix}": figure for name, figure in own.items()}
    if figures:
        figures["tokens_per_second_alone"] = ratio(
            _column(records, "tokens"),
            _column(records, "seconds"),
            "tokens/s",
            lower_is_better=None,
        )
    if "overlap" in records[0]:
        scored = _column(records, "scored")
        for name in ("overlap", "agreement"):
            figures[name] = ratio(_column(records, name), scored, "share", lower_is_better=False)
    return figures


def _of_way(own: Sequence[Mapping[str, object]], records: Sequence[Record]) -> dict[str, Figure]:
    tokens, seconds = _column(own, "tokens"), _column(own, "seconds")
    drafted, accepted = _column(own, "drafted"), _column(own, "accepted")
    # the time that the target alone would take for as many tokens
    alone = _column(records, "seconds") / _column(records, "tokens") * tokens
    figures = {}
    # prompt look-up may find nothing to draft in any prompt
    if drafted.sum():
        figures["accepted"] = ratio(accepted, drafted, "share", lower_is_better=False)
    return figures | {
        "accepted_length": ratio(
            tokens, _column(own, "forwards"), "tokens/forward", lower_is_better=False
        ),
        "tokens_per_second": ratio(tokens, seconds, "tokens/s", lower_is_better=False),
        "speed_up": ratio(alone, seconds, "times", lower_is_better=False),
        "equal": share(np.array([each["equal"] for each in own]), "share"),
    }


def _column(rows: Sequence[Mapping[str, object]], name: str) -> Float[np.ndarray, " item"]:
    return np.array([row[name] for row in rows], dtype=np.float64)
