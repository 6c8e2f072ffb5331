"""A small head that predicts the bytes of a token one after another, from one hidden state."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

SPECIAL = 256
"""The outcome after the 256 bytes: a special token."""
NUM_OUTCOMES = SPECIAL + 1


class ByteHead(nn.Module):
    r"""A linear map of the hidden state, and a table of what the token's own bytes add to it.

    .. math:: h(b \mid b_1 \dots b_{k}) \propto \exp \Big( w_b \cdot s + c_{b}
       + \sum_{i=1}^{k} V_{i, b_i, b} \Big)

    with s the hidden state before the token and b_1 to b_k its bytes before this one. The table V
    starts at 0.

    Args:
        hidden_size: Channels of the hidden state.
        max_bytes: The most bytes of a token that are predicted.
    """

    def __init__(self, hidden_size: int, *, max_bytes: int):
        super().__init__()
        self.output = nn.Linear(hidden_size, NUM_OUTCOMES)
        self.before = nn.Parameter(torch.zeros(max_bytes, NUM_OUTCOMES, NUM_OUTCOMES))

    def forward(
        self,
        states: Float[Tensor, "token hidden"],
        tokens: Int[Tensor, " byte"],
        steps: Int[Tensor, " byte"],
        values: Int[Tensor, " byte"],
    ) -> Float[Tensor, "byte _"]:
        """Log-probabilities of every outcome in place of each byte, nats.

        Args:
            states: The hidden state before each token.
            tokens: The token that each byte belongs to, as a row of `states`.
            steps: How many bytes of that token come before: fewer than `max_bytes`.
            values: The bytes themselves, or `SPECIAL`.

        Returns:
            A distribution for each byte, float32 at least.
        """
        with torch.autocast(states.device.type, enabled=False):
            from_state = self.output(states.to(self.output.weight.dtype))
            width = int(steps.max()) + 1 if len(steps) else 1
            added = from_state.new_zeros(len(states), width, NUM_OUTCOMES)
            added = added.index_put((tokens, steps), self.before[steps, values])
            # what comes before a byte, without the byte itself
            added = (
                added.cumsum(dim=1)
                .roll(1, dims=1)
                .index_fill(1, torch.zeros(1, dtype=torch.long, device=states.device), 0.0)
            )
            return (from_state[tokens] + added[tokens, steps]).log_softmax(dim=1)
