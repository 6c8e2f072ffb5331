from dataclasses import replace

import torch

from alm_lightning.data.collator import Collator
from alm_lightning.data.packing import FirstFit
from alm_lightning.likelihood.linear import linear_log_likelihood
from alm_lightning.models.pair import Scorer
from alm_lightning.models.structure import last_hidden, output_head
from alm_lightning.shapes import NO_CHUNK


def test_signal_against_whole_logits(scorers, collator, rows):
    """Chunk likelihoods, boundary mass and hidden states, from log-softmax and Python loops."""
    batch = collator.batch(rows)
    for scorer, tokens in zip(scorers, (batch.student, batch.teacher), strict=True):
        ids, mask, chunk_ids = tokens.ids, tokens.mask, tokens.chunk_ids
        side = scorer(batch, tokens, keep_hidden=True)
        hidden = last_hidden(scorer.model, ids)
        head = output_head(scorer.model, scorer.view)
        logprobs = (hidden @ head.weight.T).log_softmax(dim=-1)
        boundary = logprobs[..., head.boundary_ids].logsumexp(dim=-1)
        for row in range(len(ids)):
            sums, ends = {}, {}
            for pos in range(int(mask[row].sum())):
                if pos:
                    expected = logprobs[row, pos - 1, ids[row, pos]]
                    torch.testing.assert_close(side.token_logprobs[row, pos], expected)
                chunk = int(chunk_ids[row, pos])
                if chunk != NO_CHUNK:
                    sums[chunk] = sums.get(chunk, 0.0) + side.token_logprobs[row, pos]
                    ends[chunk] = pos
            assert side.token_logprobs[row, 0] == 0.0
            assert not side.token_logprobs[row, int(mask[row].sum()) :].any()
            assert sorted(sums) == list(range(int(batch.chunk_mask[row].sum())))
            for chunk, total in sums.items():
                torch.testing.assert_close(side.chunk_logprobs[row, chunk], total)
                torch.testing.assert_close(side.hidden[row, chunk], hidden[row, ends[chunk]])
                expected = boundary[row, ends[chunk]]
                if batch.chunk_is_structure[row, chunk]:
                    expected = torch.zeros(())
                torch.testing.assert_close(side.boundary_logprobs[row, chunk], expected)


def test_padding_and_batching_change_nothing(scorers, collator, rows):
    together = collator.batch(rows)
    for scorer, side in zip(scorers, ("student", "teacher"), strict=True):
        whole = scorer(together, getattr(together, side))
        for index, row in enumerate(rows):
            batch = collator.batch([row])
            alone = scorer(batch, getattr(batch, side))
            chunks = alone.chunk_logprobs.shape[1]
            torch.testing.assert_close(
                whole.chunk_logprobs[index, :chunks], alone.chunk_logprobs[0], rtol=1e-4, atol=1e-5
            )


def test_a_likelihood_needs_a_token_before_it_in_its_own_document(scorers, rows):
    student, teacher = scorers
    packing = FirstFit(student_length=100, teacher_length=100)
    collator = Collator(
        student=student.view, teacher=teacher.view, micro_batch_size=99, packing=packing
    )
    (batch,) = collator(rows)
    for scorer, tokens in zip(scorers, (batch.student, batch.teacher), strict=True):
        side = scorer(batch, tokens)
        mask = tokens.mask
        first = mask & (tokens.positions == 0)
        assert first.sum() == len(rows) > len(mask)
        assert ((side.token_logprobs < 0) == (mask & ~first)).all()


def test_rows_that_no_token_has_take_nothing_from_the_others(scorers, collator, rows):
    """With 40 of its rows unused a model says what it says without those rows."""
    _, teacher = scorers
    used = {int(i) for row in rows for i in row.teacher.ids} | set(teacher.view.roles.values())
    lost = [
        i
        for i, surface in enumerate(teacher.view.token_bytes)
        if surface is not None and i not in used and surface[0] not in b" \t\n"
    ][:40]
    assert lost[-1] < teacher.view.num_tokens - 1
    batch = collator.batch(rows)
    surfaces = [None if i in lost else s for i, s in enumerate(teacher.view.token_bytes)]
    side = Scorer(teacher.model, replace(teacher.view, token_bytes=surfaces))(batch, batch.teacher)
    whole = teacher(batch, batch.teacher)
    hidden = last_hidden(teacher.model, batch.teacher.ids)
    logits = hidden @ output_head(teacher.model, teacher.view).weight.T
    # what is left of the mass, after each position
    left = -logits.log_softmax(-1).index_fill(-1, torch.tensor(lost), -torch.inf).logsumexp(-1)
    before = left.roll(1, dims=1).masked_fill(whole.token_logprobs == 0, 0.0)
    torch.testing.assert_close(
        side.token_logprobs, whole.token_logprobs + before, rtol=1e-4, atol=1e-5
    )
    content = batch.content_of(batch.teacher)
    assert (side.token_logprobs[content] > whole.token_logprobs[content]).all()


def test_what_nobody_asks_for_is_not_computed(scorers, collator, rows, monkeypatch):
    """Chunks that are taken out, as a user's messages are, change nothing for the others."""
    visited = []

    def noted(hidden, *args, **kwargs):
        visited.append(len(hidden))
        return linear_log_likelihood(hidden, *args, **kwargs)

    monkeypatch.setattr("alm_lightning.likelihood.score.linear_log_likelihood", noted)
    batch = collator.batch(rows)
    kept = [0, 1, 6]

    def without(side):
        asked = torch.isin(side.chunk_ids, torch.tensor(kept))
        return replace(side, chunk_ids=torch.where(asked, side.chunk_ids, NO_CHUNK))

    student, teacher = without(batch.student), without(batch.teacher)
    targets = batch.student_targets & (student.chunk_ids != NO_CHUNK)
    # a token that is predicted and in no chunk, as one that is too long for its chunk to count
    targets[0, int(batch.student.mask[0].sum()) - 2] = True
    few = replace(batch, student=student, teacher=teacher, student_targets=targets)
    for scorer, side in zip(scorers, ("student", "teacher"), strict=True):
        found, whole = (scorer(each, getattr(each, side)) for each in (few, batch))
        for name in ("chunk_logprobs", "boundary_logprobs"):
            ours, expected = getattr(found, name)[:, kept], getattr(whole, name)[:, kept]
            torch.testing.assert_close(ours, expected)
        read = few.read_positions(getattr(few, side)).sum()
        assert visited == [read, int(getattr(batch, side).mask.sum())]
        assert read < visited[1] / 2
        visited.clear()
    ours, whole = (scorers[0](each, each.student).token_logprobs for each in (few, batch))
    torch.testing.assert_close(ours[targets], whole[targets])
    assert ours[targets].all()
    nothing = replace(
        few,
        student=replace(student, chunk_ids=torch.full_like(student.chunk_ids, NO_CHUNK)),
        student_targets=torch.zeros_like(targets),
    )
    assert not scorers[0](nothing, nothing.student).token_logprobs.any()
