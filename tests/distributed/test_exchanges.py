"""DDP exchanges gradients once a step, however many micro-batches a rank has."""

import lightning as L
import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy
from tests.distributed.ranks import on_ranks
from tests.distributed.small_run import fit, make_module, shared_steps
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

from alm_lightning.data.collator import Collator
from alm_lightning.objectives.alm import ALM
from alm_lightning.objectives.hidden_states import HiddenStates
from alm_lightning.objectives.next_token import NextToken

pytestmark = [
    pytest.mark.distributed,
    # only training is of interest here
    pytest.mark.filterwarnings("ignore:You defined a `validation_step`"),
]
NUM_STEPS = 3


TERMS = {
    "alm_next_token": lambda: {
        "alm": ALM(temperature=5, threshold=0.01, debias=True, divergence="kl"),
        "next_token": NextToken(),
    },
    # nothing reads the output matrix, which is trained
    "hidden_states": lambda: {
        "hidden_states": HiddenStates(projection=None, learning_rate=1e-3, fades_by=None)
    },
}


class Exchanged(L.Callback):
    """The number of parameters that DDP has exchanged gradients of, by step."""

    def __init__(self):
        self.sizes = [0]

    def on_train_start(self, trainer, pl_module):
        trainer.strategy.model.register_comm_hook(None, self.hook)

    def hook(self, state, bucket):
        self.sizes[-1] += bucket.buffer().numel()
        return default_hooks.allreduce_hook(None, bucket)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.sizes.append(0)


@pytest.mark.parametrize("terms", TERMS)
def test_once_a_step(scorers, rows, tmp_path, terms):
    student, teacher = scorers
    collator = Collator(student=student.view, teacher=teacher.view, micro_batch_size=2)
    whole, shares = shared_steps(collator, rows[:9], num_steps=NUM_STEPS, world_size=2)
    # one and several micro-batches, and none
    assert [[len(step) for step in share] for share in shares] == [[3, 5, 3], [2, 0, 2]]
    module = make_module(scorers, TERMS[terms]())

    def work(rank):
        exchanged = Exchanged()
        strategy = DDPStrategy(process_group_backend="gloo")
        curve = fit(module, shares[rank], callbacks=[exchanged], strategy=strategy, devices=2)
        return exchanged.sizes, curve, dict(module.state_dict())

    results = on_ranks(work, 2, tmp_path)
    curve = fit(module, whole)
    num_trained = sum(parameter.numel() for parameter in module.trained_parameters())
    for sizes, found, state in results:
        assert sizes == [num_trained] * NUM_STEPS + [0]
        for step, values in enumerate(curve):
            assert found[step] == pytest.approx(values, rel=1e-4), step
        for name, tensor in module.state_dict().items():
            torch.testing.assert_close(state[name], tensor, rtol=1e-4, atol=1e-5)
