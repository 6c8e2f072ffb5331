import pytest

from alm_lightning.metrics.gap import gap_closed


@pytest.mark.parametrize(
    ("before", "after", "teacher", "share"),
    [
        (2.0, 1.0, 1.0, 1.0),
        (2.0, 2.0, 1.0, 0.0),
        (2.0, 2.5, 1.0, -0.5),
        (2.0, 0.5, 1.0, 1.5),
        # accuracies grow where the gap closes
        (0.6, 0.75, 0.8, 0.75),
        # a difference to the teacher has the teacher at 0
        (6.0, 1.5, 0.0, 0.75),
        (1.0, 1.5, 1.0, None),
    ],
)
def test_share_of_the_gap(before, after, teacher, share):
    closed = gap_closed(before=before, after=after, teacher=teacher)
    assert closed == (None if share is None else pytest.approx(share))
