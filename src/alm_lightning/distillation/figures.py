"""The figures of a run, as plain values; and what they say of the teacher."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import lightning as L
from torch import Tensor

from alm_lightning.data.windows import DATA_REASONS
from alm_lightning.distillation.data import OTHER, TRAINED
from alm_lightning.metrics.totals import gap_closed
from alm_lightning.scores.ensemble import StoredTeachers
from alm_lightning.training.callbacks import Speed
from alm_lightning.training.memory import peak_memory_bytes

if TYPE_CHECKING:
    from alm_lightning.distillation.run import Outcome

Figures = Mapping[str, Mapping[str, float]]
UNIFORM_BITS_PER_BYTE = 8.0
"""Bits per byte of a model that knows nothing: each of the 256 bytes alike."""
UNTRAINED_MARGIN = 1.05
"""A model as it was initialised lies a little above a uniform guess (0.2 to 0.7 % in tests), and
may be a teacher there. Weights with the tokenizer of another model lie far above."""


def callbacks_of(trainer: L.Trainer) -> list[L.Callback]:
    """The callbacks of a trainer, which Lightning does not declare."""
    return trainer.callbacks  # type: ignore[attr-defined]


def figures_by_set(
    metrics: Mapping[str, float | Tensor], names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Figures of a validation, by evaluation set.

    Args:
        metrics: As Lightning returns them, named ``val/<set>/<figure>``; with several loaders
            Lightning may append ``/dataloader_idx_<n>``.
        names: Names of the evaluation sets; what is not of one of them is left out.

    Returns:
        From set to figure to value.
    """
    figures: dict[str, dict[str, float]] = {name: {} for name in names}
    for key, value in metrics.items():
        stage, _, rest = key.partition("/")
        name, _, figure = rest.partition("/")
        # callbacks may log figures of their own, under any name
        if stage == "val" and name in figures and figure:
            figures[name][figure.partition("/")[0]] = float(value)
    return figures


def of_teacher(figures: Figures, label: str) -> dict[str, Mapping[str, float]]:
    """The figures beside one of several teachers.

    Args:
        figures: By evaluation set, and by ``<set>@<label>``.
        label: The teacher's.

    Returns:
        By evaluation set.
    """
    end = f"@{label}"
    return {n.removesuffix(end): values for n, values in figures.items() if n.endswith(end)}


def together(figures: Figures) -> dict[str, Mapping[str, float]]:
    """The figures beside the teacher, or beside several together.

    Args:
        figures: By evaluation set, and by ``<set>@<label>``.

    Returns:
        By evaluation set.
    """
    return {name: values for name, values in figures.items() if "@" not in name}


def gaps_closed(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float | None]:
    """Shares of the gap between the untrained student and the teacher that training closed.

    Args:
        before: Figures of an evaluation set before training.
        after: The same after training.

    Returns:
        By figure: (before - after) / (before - teacher).
    """
    return {
        "bits_per_byte": gap_closed(
            before=before["bits_per_byte_student"],
            after=after["bits_per_byte_student"],
            teacher=after["bits_per_byte_teacher"],
        ),
        "chunk_difference": gap_closed(
            before=before["chunk_difference"], after=after["chunk_difference"], teacher=0.0
        ),
    }


def summary_of(outcome: "Outcome") -> dict[str, Any]:
    """The figures of a run, for programs.

    Args:
        outcome: The run.

    Returns:
        Plain values; bits per byte, nats, bytes and seconds. ``steps`` counts those before a
        resume, ``seconds.timed_steps`` those that this process made. What ends in ``_other`` is of
        the other domain, if there is one. Of several teachers, ``teachers`` has the figures beside
        each, and all others are beside the teachers together.
    """
    trainer = outcome.trainer
    before, after = together(outcome.before), together(outcome.after)
    # without the callback nothing is timed: no reason to lose the run's other figures
    speed = next((c for c in callbacks_of(trainer) if isinstance(c, Speed)), Speed())
    heldout = after[TRAINED]
    return {
        "steps": trainer.global_step,
        "teacher_tokens": outcome.num_teacher_tokens,
        # as set, or as found
        "micro_batch_size": outcome.micro_batch_size,
        "seconds": {
            "total": outcome.seconds,
            "train": speed.train_seconds,
            "waiting_for_data": speed.waited_seconds,
            "timed_steps": speed.num_steps,
            "per_step": speed.train_seconds / speed.num_steps if speed.num_steps else None,
        },
        **_beside(before, after),
        **_teachers(outcome),
        "chunks": {
            # of all bytes, those that are not to be trained on included
            "coverage": heldout["coverage"],
            # bytes outside of what is trained on, by reason
            "outside_bytes": {
                reason: int(heldout[f"outside_bytes_{reason}"]) for reason in DATA_REASONS
            },
            "count": int(heldout["chunks"]),
            "bytes_per_chunk": heldout["bytes_per_chunk"],
            "student_tokens_per_chunk": heldout["student_tokens_per_chunk"],
            "teacher_tokens_per_chunk": heldout["teacher_tokens_per_chunk"],
        },
        # documents left out by on_bad_document=skip, by kind, as far as the first rank met them
        "bad_documents": dict(outcome.bad_documents),
        "peak_memory_bytes": peak_memory_bytes(),
    }


def _beside(before: Figures, after: Figures) -> dict[str, Any]:
    """Figures beside one teacher, or beside several together."""
    suffixes = {TRAINED: "", OTHER: "_other"}
    bits = {
        f"bits_per_byte{suffixes[name]}": {
            "teacher": after[name]["bits_per_byte_teacher"],
            "student_before": before[name]["bits_per_byte_student"],
            "student_after": after[name]["bits_per_byte_student"],
        }
        for name in after
    }
    differences = {}
    for name in after:
        differences[f"before{suffixes[name]}"] = before[name]["chunk_difference"]
        differences[f"after{suffixes[name]}"] = after[name]["chunk_difference"]
    return {
        **bits,
        "chunk_difference": differences,
        "gap_closed": {name: gaps_closed(before[name], after[name]) for name in after},
    }


def _teachers(outcome: "Outcome") -> dict[str, Any]:
    """Of several teachers: how they were combined, and the figures beside each."""
    if not isinstance(outcome.teacher, StoredTeachers):
        return {}
    weights = outcome.teacher.weights
    return {
        "combined_by": outcome.teacher.combine,
        "teacher_weights": dict(weights.by_group or {"all": weights.everywhere}),
        "teachers": {
            label: _beside(of_teacher(outcome.before, label), of_teacher(outcome.after, label))
            for label in outcome.teacher.labels
        },
    }


def check_teacher(figures: Figures, name: str, num_tokens: int) -> None:
    """Refuses a teacher that knows less than nothing of its own text.

    Vocabularies of the same size can't tell a tokenizer that is not the model's; its figures can.

    Args:
        figures: Figures before training, by evaluation set.
        name: What the error calls the teacher.
        num_tokens: Size of the teacher's vocabulary.

    Raises:
        ValueError: If the teacher knows less than a uniform guess at bytes, or clearly less than
            one at its tokens, on every evaluation set, or its likelihoods are not finite.
    """
    bits = {dataset: values["bits_per_byte_teacher"] for dataset, values in figures.items()}
    nats = {dataset: _teacher_nats_per_token(values) for dataset, values in figures.items()}
    uniform = math.log(num_tokens)
    is_finite = all(map(math.isfinite, bits.values()))
    if (
        not is_finite
        or min(bits.values()) > UNIFORM_BITS_PER_BYTE
        or min(nats.values()) > UNTRAINED_MARGIN * uniform
    ):
        raise ValueError(
            f"the teacher {name} needs {_rounded(bits)} bits per byte and {_rounded(nats)} nats "
            f"per token, where guessing takes {UNIFORM_BITS_PER_BYTE:.0f} bits per byte or "
            f"{uniform:.2f} nats per token: its weights and its tokenizer do not belong together, "
            "or its weights are broken. Load both from one revision of one model."
        )


def _teacher_nats_per_token(values: Mapping[str, float]) -> float:
    nats = values["bits_per_byte_teacher"] * math.log(2) * values["bytes"]
    num_tokens = values["teacher_tokens_per_chunk"] * values["chunks"]
    return nats / max(num_tokens, 1.0)


def _rounded(values: Mapping[str, float]) -> str:
    return ", ".join(f"{value:.2f} ({dataset})" for dataset, value in values.items())
