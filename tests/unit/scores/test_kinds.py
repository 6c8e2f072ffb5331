"""Which objectives a store serves."""

import pytest

from alm_lightning.objectives.next_byte import NextByte
from alm_lightning.scores.kinds import Kinds, check_kinds


@pytest.mark.parametrize("settings", [{"least_share": 1e-4}, {"dtype": "float16"}])
def test_reverse_kl_reads_the_least_masses(settings):
    exact = {"kinds": ("next_byte",), "top": None, "dtype": "float32", "least_share": 0.0}
    terms = {
        name: NextByte(end="drop", positions="token_starts", divergence=name)
        for name in ("kl", "reverse_kl")
    }
    check_kinds(Kinds(**exact), terms, "store")
    check_kinds(Kinds(**(exact | settings)), {"kl": terms["kl"]}, "store")
    with pytest.raises(ValueError, match="reads the teacher's least masses as well"):
        check_kinds(Kinds(**(exact | settings)), terms, "store")
