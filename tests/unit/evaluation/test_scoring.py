"""Log-probabilities of rows, against transformers' own logits."""

import numpy as np
import pytest
import torch
from tests.conftest import SENTENCES

from alm_lightning.evaluation.scoring import Row, score_rows


def rows_of(evaluated, texts, first=1):
    start = [evaluated.view.start_id]
    return [Row(np.concatenate([start, evaluated.view.encode(text).ids]), first) for text in texts]


def directly(evaluated, row):
    """One row at a time, whole logits, in double precision."""
    ids = torch.from_numpy(row.ids.astype(np.int64))[None]
    with torch.no_grad():
        logits = evaluated.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
    logprobs = logits[:, : evaluated.view.num_tokens].double().log_softmax(-1)
    found = logprobs[:-1].gather(1, ids[0, 1:, None])[:, 0]
    return found[row.first - 1 :].numpy()


@pytest.mark.parametrize("name", ["bytes", "gemma"])
@pytest.mark.parametrize("batch_tokens", [1, 100, 4096])
def test_rows_are_scored_as_transformers_does_one_by_one(evaluated_models, name, batch_tokens):
    evaluated = evaluated_models[name]
    rows = rows_of(evaluated, SENTENCES)
    rows += rows_of(evaluated, SENTENCES[:2], first=9)
    found = dict(score_rows(evaluated, rows, batch_tokens=batch_tokens))
    assert sorted(found) == list(range(len(rows)))
    for index, row in enumerate(rows):
        assert len(found[index]) == len(row.ids) - row.first
        np.testing.assert_allclose(found[index], directly(evaluated, row), atol=2e-5)


def test_batches_hold_no_more_tokens_than_said_and_start_with_the_longest(
    evaluated_models, monkeypatch
):
    evaluated = evaluated_models["gemma"]
    shapes = []
    forward = evaluated.model.model.forward

    def watched(*args, **kwargs):
        shapes.append(tuple(kwargs["input_ids"].shape))
        return forward(*args, **kwargs)

    monkeypatch.setattr(evaluated.model.model, "forward", watched)
    list(score_rows(evaluated, rows_of(evaluated, SENTENCES * 3), batch_tokens=120))
    widths = [width for _, width in shapes]
    assert widths == sorted(widths, reverse=True)
    assert all(count * width <= 120 or count == 1 for count, width in shapes)
    assert max(count for count, _ in shapes) > 1


def test_a_row_longer_than_the_context_is_refused_before_any_is_scored(short_context):
    rows = rows_of(short_context, ["a b", "word " * 30])
    with pytest.raises(ValueError, match=r"row 1 has .* reads at most 24 at once"):
        next(score_rows(short_context, rows))


@pytest.mark.parametrize(("length", "first"), [(3, 0), (3, 3), (1, 1)])
def test_a_row_of_which_nothing_can_be_scored_is_refused(length, first):
    with pytest.raises(ValueError, match="start token"):
        Row(np.arange(length), first)


def test_weights_that_are_no_numbers_are_told_with_the_model(evaluated_models):
    evaluated = evaluated_models["gemma"]
    with torch.no_grad():
        evaluated.model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="gemma gives a log-probability that is not a number"):
        list(score_rows(evaluated, rows_of(evaluated, SENTENCES[:1])))
