"""A teacher whose weights could be trained: it takes no part in any objective's gradient."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from tests.objective_cases import objective_case

CONF = Path(__file__).resolve().parents[2] / "conf" / "objective"
TERMS = {
    name: term
    for path in sorted(CONF.glob("*.yaml"))
    for name, term in OmegaConf.load(path).items()
    if name != "defaults"
}
NEEDS = {"hidden_states": "is between models of one width and depth here"}


@pytest.mark.parametrize("name", sorted(TERMS.keys() - NEEDS))
def test_nothing_reaches_the_teacher(name, byte_level_view, metaspace_view):
    case = objective_case(byte_level_view, metaspace_view)
    case.teacher.model.requires_grad_(True)
    with torch.no_grad():
        side = case.teacher(
            case.batch, case.batch.teacher, keep_hidden=True, keep_distributions=True
        )
    objective = instantiate(TERMS[name])
    objective.setup(case.pair)
    # as if the student had said all of it: the policy gradient reads nothing else
    own = torch.ones_like(case.signal.own_rows)
    found = objective(replace(case.signal, optional_teacher=side, own_rows=own))
    found.backward()
    assert found != 0
    assert all(parameter.grad is None for parameter in case.teacher.model.parameters())
    assert any(parameter.grad.any() for parameter in case.student.model.parameters())
