import pytest

from alm_lightning.app.report import timing_line


@pytest.mark.parametrize(
    ("timed", "expected"),
    [
        (60, "60 steps in 30 s (0.50 s each), 99 s in all"),
        (20, "60 steps, 20 of them here in 30 s (0.50 s each), 99 s in all"),
        (0, "60 steps, none timed, 99 s in all"),
    ],
)
def test_only_what_was_timed_is_said_to_be(timed, expected):
    seconds = {
        "total": 99.0,
        "train": 30.0 if timed else 0.0,
        "timed_steps": timed,
        "per_step": 0.5 if timed else None,
    }
    assert timing_line({"steps": 60, "seconds": seconds}) == expected
