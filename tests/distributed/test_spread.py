"""Weights spread over ranks (FSDP2; gloo, CPU): the losses and weights of a single process."""

import lightning as L
import pytest
import torch
from tests.distributed.ranks import on_ranks
from tests.distributed.small_run import fit, make_module, shared_steps

from alm_lightning.data.collator import Collator
from alm_lightning.models.adapters import LowRank
from alm_lightning.models.own_vocabulary import OwnVocabulary
from alm_lightning.models.pair import Scorer
from alm_lightning.objectives.alm import ALM
from alm_lightning.objectives.baselines.dskd import DSKD
from alm_lightning.objectives.hidden_states import HiddenStates
from alm_lightning.objectives.next_byte import NextByte
from alm_lightning.objectives.next_token import NextToken
from alm_lightning.training.sharding import ShardedStrategy

pytestmark = [
    pytest.mark.distributed,
    # only training is of interest here
    pytest.mark.filterwarnings("ignore:You defined a `validation_step`"),
]


def hidden_states():
    return HiddenStates(projection=None, learning_rate=1e-3, fades_by=None)


def alm():
    return ALM(temperature=5, threshold=0.01, debias=True, divergence="kl")


TERMS = {
    "next_byte_hidden": lambda: {
        "next_byte": NextByte(end="boundary", positions="every_byte", divergence="kl"),
        "hidden_states": hidden_states(),
    },
    "alm_next_token": lambda: {"alm": alm(), "next_token": NextToken()},
    "projectors": lambda: {
        "dskd": DSKD(temperature=2, learning_rate=1e-3),
        "next_token": NextToken(),
    },
}


class Seen(L.Callback):
    """Shows a batch to every rank, as the validation before a run does."""

    def __init__(self, batch):
        self.batch = batch

    def on_fit_start(self, trainer, pl_module):
        pl_module._spread.see(self.batch)


@pytest.fixture
def pairs(scorers):
    """By name; a student with adapters on its teacher's body keeps the teacher's tokenizer."""

    def make(name):
        student, teacher = scorers
        if name == "bytes":
            return student, teacher
        adapter = LowRank(rank=4, alpha=8, share_body=True, train_embeddings=True)
        model = OwnVocabulary(dtype=torch.float32)(
            teacher.model, old=teacher.view, new=teacher.view, share_body=True
        )
        torch.manual_seed(0)
        adapter.adapt(model)
        return Scorer(model, teacher.view), teacher

    return make


@pytest.mark.parametrize(
    ("pair", "terms", "world_size", "shard_teacher"),
    [
        ("bytes", "next_byte_hidden", 2, True),
        ("bytes", "next_byte_hidden", 4, False),
        ("adapters", "alm_next_token", 2, True),
        ("adapters", "alm_next_token", 2, False),
        ("bytes", "projectors", 2, True),
    ],
)
def test_equals_one_process(pairs, rows, tmp_path, pair, terms, world_size, shard_teacher):
    student, teacher = pairs(pair)
    collator = Collator(student=student.view, teacher=teacher.view, micro_batch_size=2)
    whole, shares = shared_steps(collator, rows[:9], num_steps=3, world_size=world_size)
    torch.manual_seed(1)
    module = make_module((student, teacher), TERMS[terms]())

    def work(rank):
        strategy = ShardedStrategy(shard_teacher=shard_teacher)
        seen = [Seen(whole[0][0])]
        curve = fit(module, shares[rank], callbacks=seen, strategy=strategy, devices=world_size)
        assert all(type(p).__name__ == "DTensor" for p in module.trained_parameters())
        state = {n: p.full_tensor() for n, p in module.named_parameters() if p.requires_grad}
        copies = module.whole_pair()
        logits = None
        if rank == 0:
            ids = whole[0][0].student.ids
            logits = copies[0].model(input_ids=ids).logits.detach()
        return curve, state, logits

    results = on_ranks(work, world_size, tmp_path)
    curve = fit(module, whole)
    for found, state, _ in results:
        for step, values in enumerate(curve):
            assert found[step] == pytest.approx(values, rel=1e-5, abs=1e-6), step
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                torch.testing.assert_close(state[name], parameter, rtol=0, atol=1e-5, msg=name)
    ids = whole[0][0].student.ids
    expected = module.student(input_ids=ids).logits
    torch.testing.assert_close(results[0][2], expected, rtol=0, atol=1e-4)
