"""Ids that no token has change nothing, however low a temperature divides their logits."""

from dataclasses import replace

import pytest
import torch
from tests.objective_cases import objective_case

from alm_lightning.objectives.alm_hybrid import ALMHybrid
from alm_lightning.objectives.baselines.dskd import DSKD
from alm_lightning.objectives.baselines.gold import GOLD
from alm_lightning.objectives.baselines.strict_one_to_one import StrictOneToOne
from alm_lightning.objectives.baselines.xtoken_p_kl import ProjectedKL
from alm_lightning.objectives.total_variation import TotalVariation
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts


def hybrid(temperature, unshared):
    return ALMHybrid(
        temperature=5,
        threshold=3e-3,
        debias=True,
        distribution_temperature=temperature,
        distribution_weight=1,
        unshared=unshared,
    )


OBJECTIVES = {
    "dskd": lambda temperature: DSKD(temperature=temperature, learning_rate=1e-3),
    "strict_one_to_one": lambda temperature: StrictOneToOne(temperature=temperature),
    "alm_hybrid": lambda temperature: hybrid(temperature, "bucket"),
    "alm_hybrid_by_prefix": lambda temperature: hybrid(temperature, "prefix"),
    "xtoken_p_kl": lambda temperature: ProjectedKL(temperature=temperature, decay=0.1),
    # they have no temperature; the sorted rest of gold holds such ids
    "total_variation": lambda temperature: TotalVariation(),
    "gold": lambda temperature: GOLD(beta=0.5, shared_weight=0.5, rest_weight=0.5),
}


def without_unused(side, view):
    """The same side, whose output layer ends before the ids that no token has."""
    distributions = side.distributions
    head = replace(distributions.head, num_tokens=view.num_tokens, padding_ids=None)
    return replace(side, optional_distributions=replace(distributions, head=head))


@pytest.mark.parametrize("temperature", [0.1, 2.0])
@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("teacher", ["byte_level_view", "metaspace_view"])
def test_unused_ids_change_nothing(metaspace_view, teacher, name, temperature, request):
    """Over two vocabularies, and over one that has byte-fallback tokens."""
    views = (metaspace_view, request.getfixturevalue(teacher))
    longer = [replace(view, token_bytes=[*view.token_bytes, None, None]) for view in views]
    case = objective_case(*longer, num_rows=3)
    signal, facts = case.signal, (case.pair.student, case.pair.teacher)
    for side in (signal.student, signal.teacher):
        assert len(side.distributions.head.padding_ids) == 2
    plain = replace(
        signal,
        student=without_unused(signal.student, views[0]),
        optional_teacher=without_unused(signal.teacher, views[1]),
    )
    of_plain = PairFacts(*(replace(f, view=view) for f, view in zip(facts, views, strict=True)))
    results = []
    for pair, each in ((case.pair, signal), (of_plain, plain)):
        objective = OBJECTIVES[name](temperature)
        torch.manual_seed(3)
        objective.setup(pair)
        objective.double()
        parameters = [*case.student.model.parameters(), *objective.parameters()]
        loss = objective(each)
        results.append([loss, *torch.autograd.grad(loss, parameters, retain_graph=True)])
    assert results[1][0].item() > 0
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
