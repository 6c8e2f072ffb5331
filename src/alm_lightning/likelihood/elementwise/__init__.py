"""The work on a block of logits between two products: sums, exponentials, gradients.

`reference` does it in torch's operations, on any device. `kernels` does it in two Triton kernels,
each of which reads a block once. `choice` says which of them a device gets.
"""
