"""What a store says is what the teacher says."""

import pytest
import torch
from tests.unit.scores.conftest import EXACT

from alm_lightning.objectives.chunks.byte_runs import SideBytes
from alm_lightning.objectives.chunks.token_bytes import TokenBytes, Trees, teacher_shares
from alm_lightning.objectives.vocabularies.prefix_tree import PrefixTree
from alm_lightning.scores.kinds import Kinds
from alm_lightning.shapes import NO_CHUNK

ALL = {"keep_tokens": True, "keep_hidden": True, "keep_distributions": True}


def sides(batch, live, stored):
    with torch.no_grad():
        return live(batch, batch.teacher, **ALL), stored(batch, batch.teacher, **ALL)


def shares_of(signal, batch, tree):
    """Distributions at each byte of each content token but the first."""
    places = (batch.teacher.has_target & (batch.teacher.chunk_ids >= 0)).flatten().nonzero()[:, 0]
    counts = tree.lengths[batch.teacher.ids.flatten()[places]].clamp_min(1)
    steps = torch.cat([torch.arange(int(count)) for count in counts])
    tokens = TokenBytes.of(SideBytes(places.repeat_interleave(counts), steps), batch.teacher.ids)

    def cells(masses):
        return torch.cat([masses.bytes, masses.end.unsqueeze(1), masses.special], dim=1)

    return teacher_shares(signal, tokens, Trees(tree, tree.on_host()), cells)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["texts", "chats"])
def test_all_of_it(request, scorers, write, batches, kind, packed):
    documents = request.getfixturevalue(kind)
    _, teacher = scorers
    made, stored = batches(write(documents), documents, packed=packed)
    tree = PrefixTree(teacher.view.trie)
    assert sum(batch.chunk_mask.sum() for batch in made) > 10
    for batch in made:
        theirs, ours = sides(batch, teacher, stored)
        for name in ("token_logprobs", "chunk_logprobs", "boundary_logprobs"):
            left, right = (getattr(side, name) * _used(batch, name) for side in (ours, theirs))
            torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-6)
        mask = batch.chunk_mask.unsqueeze(-1)
        torch.testing.assert_close(ours.hidden * mask, theirs.hidden * mask, rtol=1e-5, atol=1e-5)
        places = batch.teacher.has_target.flatten().nonzero()[:, 0]
        rows = [side.token_distributions.logprobs(places).exp() for side in (ours, theirs)]
        torch.testing.assert_close(*rows, rtol=1e-5, atol=1e-8)
        torch.testing.assert_close(
            *(shares_of(side, batch, tree) for side in (ours, theirs)), rtol=1e-4, atol=1e-6
        )


def _used(batch, name):
    if name != "token_logprobs":
        return batch.chunk_mask
    # a teacher that is there says nothing of other tokens
    return batch.teacher.has_target & (batch.teacher.chunk_ids != NO_CHUNK)


def test_rounded(scorers, write, batches, texts):
    kinds = Kinds(kinds=EXACT.kinds, top=8, dtype="float16", least_share=1e-3)
    _, teacher = scorers
    made, stored = batches(write(texts, kinds=kinds), texts)
    for batch in made:
        theirs, ours = sides(batch, teacher, stored)
        # two numbers a token are never rounded
        torch.testing.assert_close(ours.token_logprobs, theirs.token_logprobs, rtol=1e-5, atol=1e-6)
        mask = batch.chunk_mask.unsqueeze(-1)
        torch.testing.assert_close(ours.hidden * mask, theirs.hidden * mask, rtol=1e-3, atol=1e-3)
        places = batch.teacher.has_target.flatten().nonzero()[:, 0]
        left, right = (side.token_distributions.logprobs(places) for side in (ours, theirs))
        torch.testing.assert_close(left.exp().sum(1), torch.ones(len(places)), rtol=0, atol=1e-3)
        own = batch.teacher.ids.flatten()[places].unsqueeze(1)
        torch.testing.assert_close(left.gather(1, own), right.gather(1, own), rtol=1e-5, atol=1e-5)
        best = right.topk(8, dim=1).indices
        assert (left.gather(1, best) - right.gather(1, best)).abs().max() < 5e-3
        # an untrained teacher finds all bytes alike: none is below a thousandth but by a hair
        tree = PrefixTree(teacher.view.trie)
        shares = [shares_of(side, batch, tree) for side in (ours, theirs)]
        assert (shares[0] - shares[1]).abs().max() < 2e-2
        torch.testing.assert_close(shares[0].sum(1), torch.ones(len(shares[0])), rtol=0, atol=1e-5)
