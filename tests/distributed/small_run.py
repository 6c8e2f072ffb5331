"""A few steps of a module, on as many ranks as are asked for; each rank's share is given."""

import lightning as L
import torch
from torch.utils.data import DataLoader

from alm_lightning.objectives.combine import GradMag
from alm_lightning.training.module import DistillModule


def make_module(scorers, terms, **changes):
    """A module with settings under which three steps move the weights, and nothing overflows."""
    student, teacher = scorers
    settings = {
        "balance": GradMag(),
        # at its default eps Adam makes whole steps of gradients that are no more than rounding
        # errors (1e-8), which differ with the order in which ranks are added up
        "optimizer": lambda groups: torch.optim.AdamW(groups, lr=1e-3, eps=1e-6, weight_decay=0.0),
        "schedule": lambda step: 1 / (step + 1),
        "gradient_clip": 1.0,
        "config": {},
    }
    return DistillModule(student=student, teacher=teacher, objective=terms, **(settings | changes))


class Losses(L.Callback):
    """Losses of all terms, weights of the balance, gradient norms and what is read, by step."""

    def __init__(self):
        self.curve = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        result = pl_module.last_result
        values = {name: float(value) for name, value in result.losses.items()}
        values |= {f"balance {name}": float(value) for name, value in result.balance.items()}
        values["norm"] = float(trainer.callback_metrics["train/gradient_norm"])
        values["bytes"] = pl_module.last_counts.num_bytes
        values["teacher tokens"] = pl_module.num_teacher_tokens
        self.curve.append(values)


def fit(module, steps, *, callbacks=(), **settings):
    """Trains on these steps, each a list of micro-batches; gives the curve."""
    losses = Losses()
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=len(steps),
        precision="32-true",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        inference_mode=False,
        use_distributed_sampler=False,
        callbacks=[losses, *callbacks],
        **({"devices": 1} | settings),
    )
    loader = DataLoader(steps, batch_size=None, collate_fn=lambda step: step)
    trainer.fit(module, train_dataloaders=loader)
    return losses.curve


def shared_steps(collator, rows, *, num_steps, world_size):
    """Steps of all rows in turn, as one rank has them and as several share them.

    The last rank has fewer micro-batches than the first, and in the second step none at all.
    """
    whole, shares = [], []
    for step in range(num_steps):
        moved = rows[step:] + rows[:step]
        batches = collator(moved)
        own = [batches[rank::world_size] for rank in range(world_size)]
        if step == 1:
            own[0], own[-1] = own[0] + own[-1], []
        whole.append(batches)
        shares.append(own)
    return whole, [[step[rank] for step in shares] for rank in range(world_size)]
