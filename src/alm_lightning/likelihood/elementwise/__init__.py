"""The work on a block of logits between two products: sums forward, the gradient backward.

`reference` does it in torch's operations, on any device. `kernels` does it in two Triton kernels,
which read and write a block once. `choice` says which of them a device gets.
"""
