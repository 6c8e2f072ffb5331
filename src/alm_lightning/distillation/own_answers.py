"""Runs that can't learn from the student's own answers, found before anything is read."""

import logging
from collections.abc import Mapping

from alm_lightning.corpus.reading import Streamed
from alm_lightning.distillation.data import DataPlan
from alm_lightning.distillation.models import PairPlan
from alm_lightning.distillation.stores import SeveralScores, StoredScores
from alm_lightning.objectives.objective import Objective
from alm_lightning.training.on_policy import OnPolicy, TransformersSettings

log = logging.getLogger(__name__)


def check_own_answers(
    settings: OnPolicy | None,
    *,
    pair: PairPlan,
    data: DataPlan,
    objective: Mapping[str, Objective],
    accelerator: str,
) -> None:
    """Refuses what can't learn from answers, ask for them, or sample them; and answers that lack.

    Args:
        settings: How answers are sampled; None for none.
        pair: How student and teacher are made.
        data: How text becomes batches.
        objective: The terms of the loss, by name.
        accelerator: Where the models will compute, as Lightning names it.

    Raises:
        ValueError: The run can't be.
    """
    if settings is not None and settings.share:
        _check_sampled(settings, pair=pair, data=data, objective=objective, accelerator=accelerator)
        return
    if settings is not None and not isinstance(settings.engine, TransformersSettings):
        raise ValueError(
            "on_policy.engine is set, and on_policy.share is 0: there is nothing to sample. Take "
            "on_policy=half, or leave on_policy/engine out."
        )
    if any(term.needs_own_answers for term in objective.values()):
        raise ValueError(
            f"the objective, {list(objective)}, learns from answers that the student has sampled, "
            "and there are none. Take on_policy=half on_policy.begins=0 on_policy.share=1."
        )


def _check_sampled(
    settings: OnPolicy,
    *,
    pair: PairPlan,
    data: DataPlan,
    objective: Mapping[str, Objective],
    accelerator: str,
) -> None:
    settings.engine.check(settings, accelerator=accelerator, micro_batch_size=data.micro_batch_size)
    if isinstance(pair.teacher, StoredScores | SeveralScores):
        raise ValueError(
            "on_policy.share is above 0, and the teacher is a store of scores, which has never "
            "read the student's own answers. Take a teacher with weights, or on_policy=none."
        )
    if not any(term.needs_teacher for term in objective.values()):
        raise ValueError(
            "on_policy.share is above 0, and no term of the objective, "
            f"{list(objective)}, reads the teacher: the student would learn nothing from "
            "its own answers. Take objective=alm, say, or on_policy=none."
        )
    _check_schedule(settings, objective)
    if data.steps and not settings.share_at((data.steps - 1) / data.steps):
        raise ValueError(
            f"on_policy.begins is {settings.begins}: of {data.steps} steps "
            "(budget.steps) none comes after it, so that there would be no answer. Lower it."
        )
    if settings.begins + settings.rises > 1:
        log.warning(
            "on_policy.share is %s, and the run ends at %.2f of it: on_policy.begins + "
            "on_policy.rises is above 1",
            settings.share,
            (1 - settings.begins) / settings.rises,
        )
    if settings.share == 1 and not settings.begins and not settings.rises:
        idle = [name for name, term in objective.items() if not term.needs_teacher]
        if idle:
            log.warning(
                "on_policy.share is 1: %s learns from the corpus, of which there is nothing in "
                "any step",
                ", ".join(idle),
            )
    if isinstance(data.reading, Streamed):
        raise ValueError(
            "on_policy.share is above 0, and documents are streamed: prompts are drawn from "
            "all of them. Take windows=first, or on_policy=none."
        )


def _check_schedule(settings: OnPolicy, objective: Mapping[str, Objective]) -> None:
    """Refuses steps of which no term of the objective could learn anything."""
    if all(term.needs_own_answers for term in objective.values()):
        if settings.begins:
            raise ValueError(
                f"on_policy.begins is {settings.begins}, and no term of the objective, "
                f"{list(objective)}, learns from anything but answers: before the first one "
                "there would be nothing to learn. Take on_policy.begins=0."
            )
        if settings.share < 1 or settings.rises:
            log.warning(
                "on_policy.share is %s and on_policy.rises %s, and %s learns from answers alone: "
                "the other sequences of a step, and steps without an answer, count for nothing. "
                "on_policy.share=1 on_policy.rises=0 has none",
                settings.share,
                settings.rises,
                ", ".join(objective),
            )
    begins = settings.begins
    if all(
        term.fades_by is not None and term.fades_by <= begins
        for term in objective.values()
        if term.needs_teacher
    ):
        raise ValueError(
            f"on_policy.begins is {begins}, and all terms that read the teacher have faded by "
            "then: the student would learn nothing from its own answers. Lower it, or take a term "
            "that stays, such as objective=alm."
        )
