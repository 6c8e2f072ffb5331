"""The loss alone: `linear_log_likelihood` against a chunked cross-entropy on whole logits."""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

from alm_lightning.likelihood.linear import linear_log_likelihood
from on_gpu import device, loss_expected
from on_gpu.rows import Row, one_line

FULL = {"rows": 8192, "hidden": 2304, "tokens": 262_144, "boundary": 80_000}
QUICK = {"rows": 64, "hidden": 32, "tokens": 512, "boundary": 128}
CHUNK_ROWS = 2048
TOLERANCE = 0.02
"""Nats between the two means, of operands in bfloat16: logits of the chunked one are rounded."""


def loss_rows(*, quick: bool) -> Iterator[Row]:
    """Rates of the device, and time and memory of both losses."""
    sizes = QUICK if quick else FULL
    product = device.product_rate(256 if quick else 8192)
    copied = device.copy_rate(2**20 if quick else 2**32)
    yield Row("loss", "matrix product, bf16 (TFLOP/s)", product / 1e12)
    yield Row("loss", "copy (TB/s)", copied / 1e12)
    rates = {"product_rate": product, "copy_rate": copied}
    for dtype in (torch.bfloat16, torch.float32):
        expected = {
            name: loss_expected.seconds(sizes, way, is_master=dtype == torch.float32, **rates)
            for name, way in (("ours", loss_expected.way_here(device.KIND)), ("chunked",) * 2)
        }
        yield from of_type(dtype, sizes, expected)
        device.free()


def kind_of(dtype: torch.dtype) -> str:
    return "bf16" if dtype == torch.bfloat16 else "float32"


def of_type(
    dtype: torch.dtype,
    sizes: dict[str, int],
    expected: dict[str, dict[str, float]] | None = None,
) -> Iterator[Row]:
    """Both losses on operands of one type; float32 is master weights, under autocast.

    Args:
        dtype: Of operands.
        sizes: As in `FULL`.
        expected: Seconds by loss and direction, where they are to be told.
    """
    num_rows, width, num_tokens = sizes["rows"], sizes["hidden"], sizes["tokens"]
    generator = torch.Generator(device.KIND).manual_seed(0)
    made = {"device": device.KIND, "generator": generator}
    hidden = torch.randn(num_rows, width, **made).to(dtype).requires_grad_()
    weight = torch.randn(num_tokens, width, **made).mul_(width**-0.5).to(dtype).requires_grad_()
    targets = torch.randint(num_tokens, (num_rows,), **made)
    boundary_ids = torch.randperm(num_tokens, **made)[: sizes["boundary"]]

    def ours() -> Tensor:
        target, boundary = linear_log_likelihood(hidden, weight, targets, boundary_ids=boundary_ids)
        assert boundary is not None
        # both results have a gradient; the mean of the first is what is compared
        return -target.mean() + 0.0 * boundary.mean()

    def ours_with_gradients() -> tuple[Tensor, ...]:
        loss = ours()
        return loss.detach(), *torch.autograd.grad(loss, (hidden, weight))

    def in_chunks() -> Iterator[tuple[Tensor, Tensor]]:
        yield from zip(hidden.split(CHUNK_ROWS), targets.split(CHUNK_ROWS), strict=True)

    def chunks() -> list[Tensor]:
        return [
            functional.cross_entropy(
                functional.linear(part, weight).float(), wanted, reduction="sum"
            ).detach()
            for part, wanted in zip(
                hidden.split(CHUNK_ROWS), targets.split(CHUNK_ROWS), strict=True
            )
        ]

    def chunked() -> Tensor:
        return torch.stack(chunks()).sum() / num_rows

    def chunked_with_gradients() -> tuple[Tensor, ...]:
        total, to_weight, to_hidden = torch.zeros((), device=device.KIND), None, []
        for part, wanted in in_chunks():
            loss = functional.cross_entropy(
                functional.linear(part, weight).float(), wanted, reduction="sum"
            )
            of_hidden, of_weight = torch.autograd.grad(loss / num_rows, (part, weight))
            # added up in place, as `.grad` is
            to_weight = of_weight if to_weight is None else to_weight.add_(of_weight)
            to_hidden.append(of_hidden)
            total = total + loss.detach()
        return total / num_rows, torch.cat(to_hidden), to_weight

    values: dict[str, float] = {}
    ways: dict[str, dict[str, Callable]] = {
        "forward": {"ours": ours, "chunked": chunked},
        "forward + backward": {"ours": ours_with_gradients, "chunked": chunked_with_gradients},
    }
    for direction, both in ways.items():
        for name, work in both.items():
            within = _in_mixed_precision(work, dtype, is_forward=direction == "forward")
            what = f"{kind_of(dtype)}, {direction}, {name}"
            try:
                row = Row("loss", f"{what} (ms)", 1e3 * device.seconds(within))
                if expected:
                    row.expected = 1e3 * expected[name][direction]
                yield row
                extra = device.extra_bytes(within)
                yield Row("loss", f"{what} (extra MiB)", extra / device.MEBIBYTE)
                found = within()
                values[what] = float(found[0] if isinstance(found, tuple) else found)
                del found
            except Exception as error:
                yield Row("loss", what, error=one_line(error))
            device.free()
    apart = max(values.values(), default=0.0) - min(values.values(), default=0.0)
    # not greater, and not `>`: a nan is refused, too
    if not apart <= TOLERANCE:
        yield Row("loss", f"{kind_of(dtype)}, means", error=f"they differ: {values}")


def _in_mixed_precision(work: Callable, dtype: torch.dtype, *, is_forward: bool) -> Callable:
    """The work under autocast where operands are float32; without a graph where it is forward."""

    def run():
        cast = torch.autocast(device.KIND, torch.bfloat16) if dtype == torch.float32 else None
        with cast or contextlib.nullcontext(), torch.set_grad_enabled(not is_forward):
            return work()

    return run
