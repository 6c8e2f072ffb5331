import math

import pytest
import torch

from alm_lightning.distillation.figures import check_teacher, figures_by_set

VOCABULARY = 50_000
UNIFORM = math.log(VOCABULARY)


def figures(nats_per_token, bytes_per_token=4.0):
    tokens = 600.0
    return {
        "bits_per_byte_teacher": nats_per_token / math.log(2) / bytes_per_token,
        "teacher_tokens_per_chunk": 1.5,
        "chunks": tokens / 1.5,
        "bytes": tokens * bytes_per_token,
    }


@pytest.mark.parametrize(
    "sets",
    [
        {"heldout": figures(2.5), "other": figures(3.0)},
        # one strange text is no strange teacher
        {"heldout": figures(2.5), "other": figures(2 * UNIFORM)},
        # as it was initialised
        {"heldout": figures(1.01 * UNIFORM), "other": figures(1.02 * UNIFORM)},
    ],
    ids=["good", "good on one", "untrained"],
)
def test_a_teacher_that_knows_something(sets):
    check_teacher(sets, "tiny", VOCABULARY)


@pytest.mark.parametrize(
    "sets",
    [
        {"heldout": figures(1.2 * UNIFORM), "other": figures(1.1 * UNIFORM)},
        # tokens of a byte each: more than 8 bits per byte
        {"heldout": figures(5.9, 1.0), "other": figures(5.9, 1.0)},
        {"heldout": figures(2.5), "other": figures(math.nan)},
        {"heldout": figures(math.inf), "other": figures(2.5)},
    ],
    ids=["tokens", "bytes", "nan", "inf"],
)
def test_a_teacher_that_knows_less_than_nothing(sets):
    assert sets["heldout"]["bits_per_byte_teacher"] != 8
    message = r"the teacher tiny needs .*10\.82 nats per token.*Load both from one revision"
    with pytest.raises(ValueError, match=message):
        check_teacher(sets, "tiny", VOCABULARY)


def test_figures_of_evaluation_sets_alone():
    metrics = {
        "val/heldout/bytes": 3.0,
        "val/other@a/bytes/dataloader_idx_1": torch.tensor(4.0),
        # what callbacks may log
        "val/mine/bytes": 5.0,
        "val/loss": 6.0,
        "train/heldout/bytes": 7.0,
        "lr-AdamW": 8.0,
    }
    found = figures_by_set(metrics, ["heldout", "other@a", "none"])
    assert found == {"heldout": {"bytes": 3.0}, "other@a": {"bytes": 4.0}, "none": {}}
