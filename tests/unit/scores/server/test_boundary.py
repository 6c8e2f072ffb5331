"""The estimate of boundary masses, against its formula and against whole distributions."""

import math

import numpy as np
import pytest

from alm_lightning.scores.server.answers import Alternative, answer_of
from alm_lightning.scores.server.boundary import boundary_logprobs
from alm_lightning.scores.server.settings import ServerError


def test_the_formula():
    row = [
        Alternative(5, math.log(0.5), True),
        Alternative(6, math.log(0.2), False),
        Alternative(7, math.log(0.1), True),
    ]
    found, seen = boundary_logprobs(answer_of([], [row], "a server"))
    assert seen.tolist() == pytest.approx([0.8])
    assert math.exp(found[0]) == pytest.approx(0.6 + 0.2 * 2.5 / 4)


def test_alternatives_of_other_positions_do_not_count():
    short, long = (
        [Alternative(1, math.log(0.5), False)],
        [Alternative(i, math.log(0.25), i > 1) for i in range(4)],
    )
    found, seen = boundary_logprobs(answer_of([-1.0], [short, long], "a server"))
    np.testing.assert_allclose(np.exp(found), [0.5 * 0.5 / 2, 0.5])
    np.testing.assert_allclose(seen, [0.5, 1.0])


def test_no_boundary_and_no_rest_is_a_finite_number():
    found, _ = boundary_logprobs(answer_of([], [[Alternative(1, 0.0, False)]], "a server"))
    assert -90 < found[0] < -80


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.5])
def test_numbers_that_are_no_log_probabilities(value):
    row = [Alternative(1, -0.1, False)]
    with pytest.raises(ServerError, match="are none"):
        answer_of([value], [row, row], "a server")
