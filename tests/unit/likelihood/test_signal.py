from dataclasses import replace

import pytest
from tests.objective_cases import objective_case

from alm_lightning.likelihood.signal import Supervision


@pytest.fixture
def signal(byte_level_view, metaspace_view):
    return objective_case(byte_level_view, metaspace_view, num_rows=2).signal


def test_what_nobody_asked_for_is_named_when_it_is_read(signal):
    bare = replace(signal.student, optional_hidden=None, optional_distributions=None)
    with pytest.raises(ValueError, match="set its needs_hidden to True"):
        _ = bare.hidden
    for name in ("token_logprobs", "chunk_logprobs", "boundary_logprobs"):
        with pytest.raises(ValueError, match="set its needs_tokens to True"):
            getattr(replace(signal.student, optional_tokens=None), name)
    with pytest.raises(ValueError, match="set its needs_distributions to True"):
        _ = bare.distributions
    with pytest.raises(ValueError, match="set its needs_teacher to True"):
        _ = replace(signal, optional_teacher=None).teacher
    with pytest.raises(ValueError, match="set its needs_hidden to True"):
        _ = replace(signal, optional_mean_square=None).teacher_mean_square


def test_before_the_student_runs_there_is_no_student(signal):
    known = Supervision(**{k: v for k, v in vars(signal).items() if k != "student"})
    assert known.teacher is signal.teacher
    assert not hasattr(known, "student")
