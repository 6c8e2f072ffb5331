import torch

from alm_lightning.models.structure import last_hidden, output_head
from alm_lightning.shapes import NO_CHUNK


def test_signal_against_whole_logits(scorers, collator, rows):
    """Chunk likelihoods, boundary mass and hidden states, from log-softmax and Python loops."""
    batch = collator.batch(rows)
    for scorer in scorers:
        ids = getattr(batch, f"{scorer.side}_ids")
        mask = getattr(batch, f"{scorer.side}_mask")
        chunk_ids = getattr(batch, f"{scorer.side}_chunk_ids")
        side = scorer(batch, keep_hidden=True)
        hidden = last_hidden(scorer.model, ids, mask)
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
    for scorer in scorers:
        whole = scorer(together)
        for index, row in enumerate(rows):
            alone = scorer(collator.batch([row]))
            chunks = alone.chunk_logprobs.shape[1]
            torch.testing.assert_close(
                whole.chunk_logprobs[index, :chunks], alone.chunk_logprobs[0], rtol=1e-4, atol=1e-5
            )
