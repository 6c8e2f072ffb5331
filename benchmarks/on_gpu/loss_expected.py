"""How long the loss takes on a card by arithmetic: operations by one rate, bytes by another.

Nothing overlaps, nothing takes time to start, and each product is as fast as a large square one. Of
what a chunked cross-entropy was measured to take on an H200 it says 0.75 to 0.83 of the forward
pass, and 0.89 to 0.94 of both.
"""

import torch

from alm_lightning.likelihood.blocks import ACCELERATOR_BLOCK_SIZE
from alm_lightning.likelihood.elementwise.choice import operations_for
from alm_lightning.likelihood.elementwise.reference import TorchOperations
from alm_lightning.likelihood.products import Precision

WAYS = ["kernels", "torch", "kernels, soft cap", "torch, soft cap", "chunked"]
SINGLE, HALF = 4, 2
"""Bytes of a number."""

FORWARD = {
    # the product writes them; the kernel reads them
    "kernels": 2 * SINGLE,
    "kernels, soft cap": 2 * SINGLE,
    # the product; amax; sub; exp; sum
    "torch": (1 + 1 + 2 + 2 + 1) * SINGLE,
    # and div, tanh, mul
    "torch, soft cap": (7 + 6) * SINGLE,
    # the product; float; log_softmax, which reads a row twice
    "chunked": HALF + (HALF + SINGLE) + 3 * SINGLE,
}
"""Bytes that are written and read of each logit, up to the loss."""

KEPT = {
    # the second kernel reads them again, and writes what the product for hidden states reads
    "kernels": SINGLE + HALF,
    "kernels, soft cap": SINGLE + HALF,
    # a copy of what is in their place
    "torch": SINGLE + HALF,
    # and div, square, neg, add; mul
    "torch, soft cap": (8 + 3) * SINGLE + SINGLE + HALF,
    "chunked": 0,
}
"""The same, where the forward pass adds up what the gradient of hidden states takes."""

BACKWARD = {
    # the product; the kernel reads and writes. The product after it reads, as products do
    "kernels": 2 * SINGLE + HALF,
    "kernels, soft cap": 2 * SINGLE + HALF,
    # the product; sub; exp; mul; copy
    "torch": (1 + 2 + 2 + 2 + 1) * SINGLE + HALF,
    # and div, tanh, mul; div, square, neg, add; mul
    "torch, soft cap": (8 + 6 + 8 + 3) * SINGLE + HALF,
    # zeros; log_softmax reads two blocks, one of them twice, and writes; a cast
    "chunked": SINGLE + 4 * SINGLE + (SINGLE + HALF),
}
"""The same from there to the gradient of a logit, which the output matrix's gradient takes."""

CHUNKS = 4


def way_here(kind: str) -> str:
    """Which of `WAYS` a device takes."""
    precision = Precision(torch.bfloat16, torch.bfloat16, torch.float32)
    operations = operations_for(torch.device(kind), precision, None)
    return "torch" if type(operations) is TorchOperations else "kernels"


def seconds(
    sizes: dict[str, int], way: str, *, is_master: bool, product_rate: float, copy_rate: float
) -> dict[str, float]:
    """Seconds of a forward pass without gradients, and of both passes.

    Args:
        sizes: Rows, channels (``hidden``), tokens, and boundary ids among them.
        way: One of `WAYS`.
        is_master: Whether operands are float32, under autocast to a half; else they are halves.
        product_rate: Operations a second of a matrix product.
        copy_rate: Bytes a second, those that are read and those that are written.

    Returns:
        By the names of the two directions.
    """
    num_rows, width, num_tokens = sizes["rows"], sizes["hidden"], sizes["tokens"]
    product = 2 * num_rows * width * num_tokens / product_rate
    logits, matrix, states = num_rows * num_tokens, width * num_tokens, num_rows * width
    operand = SINGLE if is_master else HALF
    forward, backward = FORWARD[way] * logits, BACKWARD[way] * logits
    if way == "chunked":
        # autocast casts the matrix once for all chunks
        forward += matrix * (SINGLE + HALF if is_master else 0)
        # a product writes each chunk's gradient, which is cast, and added to those before
        of_chunk = HALF + (HALF + SINGLE if is_master else 0) + 3 * operand
        return _both(product, 2, forward, backward + CHUNKS * of_chunk * matrix, copy_rate)
    # rows are gathered, and cast where they are float32
    gathered = matrix * (2 * operand + (SINGLE + HALF if is_master else 0))
    most_rows, most_tokens = ACCELERATOR_BLOCK_SIZE
    inside = sizes["boundary"]
    num_blocks = -(-inside // most_tokens) - (-(num_tokens - inside) // most_tokens)
    # of each block: the sum is scaled; a product is written, and added to it
    of_hidden = (2 + 4) * SINGLE * states * num_blocks
    of_weight = 4 * SINGLE * matrix * (-(-num_rows // most_rows) - 1)
    # the last sum; its cast; zeros, and the rows that are put in their place
    of_weight += matrix * (SINGLE + (0 if is_master else SINGLE + HALF) + operand + 2 * operand)
    backward += KEPT[way] * logits + gathered + of_hidden + of_weight
    return _both(product, 3, forward + gathered, backward, copy_rate)


def _both(
    product: float, num_backward: int, forward: float, backward: float, copy_rate: float
) -> dict[str, float]:
    first = product + forward / copy_rate
    return {
        "forward": first,
        "forward + backward": first + num_backward * product + backward / copy_rate,
    }
