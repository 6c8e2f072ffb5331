"""Over one vocabulary every token is its own counterpart, also where another has the same bytes."""

import pytest
import torch
from tests.objective_cases import signal_by_hand, vocabulary

from alm_lightning.objectives.alm_hybrid import ALMHybrid
from alm_lightning.objectives.baselines.bpm import BytePrefix
from alm_lightning.objectives.baselines.escd import ESCD
from alm_lightning.objectives.baselines.gold import GOLD
from alm_lightning.objectives.baselines.mined import MinED
from alm_lightning.objectives.baselines.strict_one_to_one import StrictOneToOne
from alm_lightning.objectives.baselines.xtoken_p_kl import ProjectedKL
from alm_lightning.objectives.total_variation import TotalVariation
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, SideFacts

OBJECTIVES = {
    "bpm": lambda: BytePrefix(mask_whitespace=True, inside=False),
    "bpm_inside": lambda: BytePrefix(mask_whitespace=True, inside=True),
    "escd": lambda: ESCD(mask_whitespace=True),
    "gold": lambda: GOLD(beta=0.5, shared_weight=None, rest_weight=None),
    "mined": lambda: MinED(top_k=4),
    "strict_one_to_one": lambda: StrictOneToOne(temperature=1.0),
    "total_variation": TotalVariation,
    "xtoken_p_kl": lambda: ProjectedKL(temperature=1.0, decay=0.1),
    "alm_hybrid": lambda: ALMHybrid(
        temperature=5,
        threshold=0,
        debias=False,
        distribution_temperature=1,
        distribution_weight=1,
        unshared="bucket",
    ),
}
PROBS = [0.1, 0.2, 0.6, 0.1]


@pytest.mark.parametrize("text", [0, 1, 2])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_student_that_is_its_teacher_has_nothing_to_learn(byte_level_view, name, text):
    view = vocabulary(byte_level_view, [b"a", b"b", b"a", b"c"])
    facts = SideFacts(view, 4, 4)
    term = OBJECTIVES[name]()
    term.setup(PairFacts(facts, facts))
    side = ([3, text], [-1, 0], [PROBS])
    signal = signal_by_hand(side, side)
    assert term.weight(signal) > 0
    assert term(signal).item() == pytest.approx(0, abs=1e-6)
    # and a student that differs in the double alone has
    other = [0.1, 0.6, 0.2, 0.1]
    differs = signal_by_hand(([3, text], [-1, 0], [other]), side)
    assert not torch.isclose(term(differs), term(signal), atol=1e-3)


def test_pieces_without_weight_are_no_tokens_to_compare(byte_level_view):
    """`decay=0` is the first piece alone: the others would be compared with no mass at all."""
    student = vocabulary(byte_level_view, [b"a", b"\xff\xfe", b"b", b"\xff"])
    teacher = vocabulary(byte_level_view, [b"a", b"\xff", b"b", b"\xfe"])
    uniform = [0.25] * 4
    values = []
    for decay in (0.0, 1e-9):
        term = ProjectedKL(temperature=1.0, decay=decay)
        term.setup(PairFacts(SideFacts(student, 4, 4), SideFacts(teacher, 4, 4)))
        signal = signal_by_hand(([0, 2], [-1, 0], [uniform]), ([0, 2], [-1, 0], [uniform]))
        values.append((term(signal).item(), term.projection.teacher_ids.tolist()))
    # by hand: a quarter, a half and a quarter against thirds
    expected = sum(
        p * torch.tensor(p / q).log().item()
        for p, q in ((1 / 3, 1 / 4), (1 / 3, 1 / 2), (1 / 3, 1 / 4))
    )
    assert values[0] == (pytest.approx(expected, abs=1e-6), [0, 1, 2])
    assert values[1][1] == [0, 1, 2, 3]
