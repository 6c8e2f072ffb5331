"""One optimizer step of every objective: from a store as from the teacher itself."""

import copy
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from tests.conftest import tiny_gemma3
from tests.unit.scores.conftest import EXACT

from alm_lightning.models.pair import Scorer
from alm_lightning.models.structure import last_matrix
from alm_lightning.objectives.combine import GradMag
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, SideFacts
from alm_lightning.scores.kinds import check_kinds
from alm_lightning.training.step import DistillStep

CONF = Path(__file__).parents[3] / "conf" / "objective"
NEEDS_MORE = ("dskd",)
NEEDS_ANSWERS = ("policy_gradient",)
"""What the student has just said, no store has."""
NAMES = sorted({path.stem for path in CONF.glob("*.yaml")} - {*NEEDS_ANSWERS})


BY_BYTES = ("alm_next_token_hidden", "next_byte_hidden", "bpm")
CASES = [("byte_level", name) for name in NAMES] + [("bytes", name) for name in BY_BYTES]


@pytest.fixture
def scorers(tokenizer, views):
    """A student of either kind, and a teacher of another width that is not nearly uniform."""
    student_view, teacher_view = views[tokenizer], views["metaspace"]
    student = tiny_gemma3(student_view.num_tokens, hidden_size=32)
    teacher = tiny_gemma3(teacher_view.num_tokens, hidden_size=48).requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for model in (student, teacher):
            weight = model.get_output_embeddings().weight
            weight.mul_(20).add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return Scorer(student, student_view), Scorer(teacher, teacher_view)


def terms_of(name, pair):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF.parent)):
        nodes = compose("train", [f"objective={name}"]).objective
    found = {}
    for key, node in nodes.items():
        # the two models differ in width
        more = {"projection": "linear"} if key == "hidden_states" else {}
        torch.manual_seed(0)
        found[key] = instantiate(node, **more)
        found[key].setup(pair)
    return found


@pytest.mark.parametrize(("tokenizer", "name"), CASES)
def test_one_step(scorers, write, batches, texts, name):
    student, teacher = scorers
    sides = (SideFacts(s.view, s.hidden_size, s.embedding_size) for s in scorers)
    terms = terms_of(name, PairFacts(*sides))
    if name in NEEDS_MORE:
        with pytest.raises(ValueError, match="more of the teacher than a store can hold"):
            check_kinds(EXACT, terms, "store")
        return
    check_kinds(EXACT, terms, "store")
    made, stored = batches(write(texts), texts)
    results = []
    for source in (teacher, stored):
        model = copy.deepcopy(student.model)
        own = copy.deepcopy(terms)
        balance = GradMag()
        balance.setup(list(own))
        scorer = Scorer(model, student.view)
        step = DistillStep(
            student=scorer,
            teacher=source,
            terms=own,
            balance=balance,
            compared_at=lambda model=model: last_matrix(model),
            reduce=lambda value, op="sum": value,
            backward=lambda loss, exchange: loss.backward(),
            scale=1.0,
        )
        result = step(made)
        assert all(weight > 1 for weight in result.weights.values())
        gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        results.append((result.losses, gradients))
    (losses, gradients), (stored_losses, stored_gradients) = results
    for key, loss in losses.items():
        assert stored_losses[key].item() == pytest.approx(loss.item(), rel=1e-5, abs=1e-7)
    difference = (gradients - stored_gradients).norm() / gradients.norm()
    assert difference < 1e-5
