"""A small network for the first byte after a token that did not come in the text."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from next_byte.estimates import Counted
from next_byte.places import CLASSES, Places, Teacher

WIDTH, BATCH, RATE, DECAY = 512, 256, 1e-3, 0.05
LEAST = 1e-7
"""Of a probability whose logarithm is taken."""


class Learned(nn.Module):
    """Corrects counted logarithms by the state before the token and the token's embedding.

    It is fitted to the tokens that were counted: what comes after each is known, and is left out
    of its own count.

    Args:
        teacher: Whose embeddings are read.
        counted: What is corrected.
        shrink: Shrinkage of the counts, in tokens.
    """

    def __init__(self, teacher: Teacher, counted: Counted, shrink: float):
        super().__init__()
        embeddings = teacher.model.get_input_embeddings().weight.detach().float()
        self.embeddings = embeddings / embeddings.std()
        self.counted, self.shrink = counted, shrink
        size = embeddings.shape[1]
        self.of_state, self.of_token = nn.Linear(size, WIDTH), nn.Linear(size, WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, CLASSES)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, states: Tensor, token: Tensor, counted: Tensor) -> Tensor:
        inner = self.of_state((states - self.mean) / self.deviation)
        inner = inner + self.of_token(self.embeddings[token])
        return (counted + self.out(F.gelu(inner))).log_softmax(dim=1)

    def fit(self, ids: np.ndarray, states: np.ndarray, after: np.ndarray, epochs: int) -> None:
        known = self._logarithm(self.counted.after(ids, self.shrink, without=after))
        token, state, target = (torch.from_numpy(values) for values in (ids, states, after))
        self.mean, self.deviation = state.mean(dim=0), state.std(dim=0) + 1e-3
        optimizer = torch.optim.AdamW(self.parameters(), lr=RATE, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, RATE, total_steps=epochs * -(-len(ids) // BATCH)
        )
        for _ in range(epochs):
            for chosen in torch.randperm(len(ids)).split(BATCH):
                found = self(state[chosen], token[chosen], known[chosen])
                loss = F.kl_div(found, target[chosen].float(), reduction="batchmean")
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()

    @torch.no_grad()
    def after(self, places: Places) -> np.ndarray:
        known = self._logarithm(self.counted.after(places.token, self.shrink))
        states, token = torch.from_numpy(places.state), torch.from_numpy(places.token)
        return self(states, token, known).exp().double().numpy()

    @staticmethod
    def _logarithm(probs: np.ndarray) -> Tensor:
        return torch.from_numpy(np.log(probs + LEAST)).float()
