"""Time and memory of `linear_log_likelihood` against plain computations, forward and backward.

    python benchmarks/linear_log_likelihood.py
    python benchmarks/linear_log_likelihood.py --rows 512 --tokens 49152 --hidden 576
    python benchmarks/linear_log_likelihood.py --dtype bfloat16 --rows 512 --terms 2 --frozen
    python benchmarks/linear_log_likelihood.py --device cpu --chunked --rows 64 --tokens 512
    python benchmarks/linear_log_likelihood.py --expected

On CUDA, or with `--chunked`, it is compared with a cross-entropy on whole logits of 2,048 rows at a
time, in bfloat16 and with float32 weights under autocast; memory includes the gradients. The part
`loss` of benchmarks/gpu.py measures the same. With `--expected` nothing is measured: times are
worked out from the rates of an H200.

Else it is compared with whole logits of all rows, on the CPU. Each variant runs in a process of its
own. Memory is the peak of the resident set less its size with inputs and room for their gradients
already touched: what the computation itself adds. `--terms 2` also asks for the gradient of hidden
states of each result alone first, as a balance that compares gradients does; with `--frozen` the
output matrix has none. On a machine that does other work too, compare
the CPU seconds of `--threads 1`.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from alm_lightning.likelihood.linear import linear_log_likelihood
from on_gpu import device, loss, loss_expected
from on_gpu.rows import BEFORE, figure


def naive(
    hidden: Tensor, weight: Tensor, targets: Tensor, boundary_ids: Tensor
) -> tuple[Tensor, Tensor]:
    """Whole logits and whole log-softmax, under autograd."""
    logprobs = (hidden.float() @ weight.float().T).log_softmax(-1)
    # index_select: the fastest of the plain ways to the subset (against indexing and a mask)
    boundary_logprobs = logprobs.index_select(1, boundary_ids).logsumexp(-1)
    return logprobs.gather(1, targets[:, None]).squeeze(1), boundary_logprobs


def ours(
    hidden: Tensor, weight: Tensor, targets: Tensor, boundary_ids: Tensor
) -> tuple[Tensor, Tensor]:
    """The function under test."""
    return linear_log_likelihood(hidden, weight, targets, boundary_ids=boundary_ids)


VARIANTS = {"naive": naive, "ours": ours}


def resident_bytes() -> int:
    """Resident set of this process now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def measure(args: argparse.Namespace) -> dict[str, float]:
    """Seconds and extra peak bytes of one variant in this process, and sums to compare."""
    torch.manual_seed(0)
    if args.threads:
        torch.set_num_threads(args.threads)
    dtype = getattr(torch, args.dtype)
    hidden = torch.randn(args.rows, args.hidden).to(dtype).requires_grad_()
    weight = (torch.randn(args.tokens, args.hidden) * args.hidden**-0.5).to(dtype)
    weight.requires_grad_(not args.frozen)
    targets = torch.randint(args.tokens, (args.rows,))
    boundary_ids = torch.randperm(args.tokens)[: args.tokens // 2]
    # ones are written, so that the pages exist when the resident set is read
    room = [torch.ones_like(hidden), torch.ones_like(weight)]
    before = resident_bytes()
    del room
    cpu_start, start = time.process_time(), time.perf_counter()
    target, boundary = VARIANTS[args.variant](hidden, weight, targets, boundary_ids)
    middle = time.perf_counter()
    for term in (target, boundary)[: args.terms]:
        torch.autograd.grad(term.sum(), hidden, retain_graph=True)
    # not .backward(): gradients that are added to .grad would count twice, on both sides
    inputs = (hidden,) if args.frozen else (hidden, weight)
    grads = torch.autograd.grad((target + 0.5 * boundary).sum(), inputs)
    end, cpu_end = time.perf_counter(), time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    norms = zip(("grad_hidden_norm", "grad_weight_norm"), grads, strict=False)
    return {
        "forward_s": middle - start,
        "backward_s": end - middle,
        "total_s": end - start,
        "total_cpu_s": cpu_end - cpu_start,
        "extra_peak_mib": (peak - before) / 2**20,
        "mean_target": float(target.detach().mean()),
        "mean_boundary": float(boundary.detach().mean()),
        **{name: float(grad.norm()) for name, grad in norms},
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--chunked", action="store_true", help="compare as on CUDA, see above")
    parser.add_argument("--expected", action="store_true", help="on an H200, by arithmetic")
    parser.add_argument("--rows", type=int, help="2,048; against chunks 8,192")
    parser.add_argument("--hidden", type=int, help="640; against chunks 2,304")
    parser.add_argument("--tokens", type=int, default=262144)
    parser.add_argument(
        "--dtype", default="float32", help="without chunks: of hidden states and output matrix"
    )
    parser.add_argument("--terms", type=int, default=0, help="0 to 2 results compared beforehand")
    parser.add_argument("--frozen", action="store_true", help="no gradient of the output matrix")
    parser.add_argument("--threads", type=int, help="by default torch's own choice")
    parser.add_argument("--variant", choices=sorted(VARIANTS), help="run only this, print JSON")
    return parser


def _sizes(args: argparse.Namespace) -> dict[str, int]:
    # the published recipe: 80,000 of Gemma's 262,144 tokens open a word
    num_boundary = args.tokens * loss.FULL["boundary"] // loss.FULL["tokens"]
    return {name: getattr(args, name) for name in ("rows", "hidden", "tokens")} | {
        "boundary": num_boundary
    }


def print_expected(sizes: dict[str, int]) -> None:
    """Prints what each way should take, as a table in Markdown."""
    rates = {
        "product_rate": 1e12 * BEFORE["loss", "matrix product, bf16 (TFLOP/s)"],
        "copy_rate": 1e12 * BEFORE["loss", "copy (TB/s)"],
    }
    directions = ("forward", "forward + backward")
    titles = [f"{kind}, {direction}" for kind in ("bf16", "float32") for direction in directions]
    print(f"| expected, ms | {' | '.join(titles)} |", "|---" * 5 + "|", sep="\n")
    for way in loss_expected.WAYS:
        both = [
            loss_expected.seconds(sizes, way, is_master=is_master, **rates)
            for is_master in (False, True)
        ]
        cells = [figure(1e3 * each[direction]) for each in both for direction in directions]
        print(f"| {way} | {' | '.join(cells)} |")


def against_chunks(args: argparse.Namespace) -> None:
    """Prints time and memory of both directions and types, as a table in Markdown."""
    sizes = _sizes(args)
    print(f"{args.rows} rows x {args.hidden} channels x {args.tokens} tokens, {device.name()}")
    titles = ("operands", "", "ours, ms", "extra MiB", "chunked, ms", "extra MiB", "time", "memory")
    print(f"| {' | '.join(titles)} |", "|---" * len(titles) + "|", sep="\n")
    for dtype in (torch.bfloat16, torch.float32):
        rows = {row.what: row for row in loss.of_type(dtype, sizes)}
        wrong = [f"{row.what}: {row.error}" for row in rows.values() if row.error]
        if wrong:
            raise SystemExit("; ".join(wrong))
        for direction in ("forward", "forward + backward"):
            found = [
                rows[f"{loss.kind_of(dtype)}, {direction}, {name} ({unit})"].measured
                for name in ("ours", "chunked")
                for unit in ("ms", "extra MiB")
            ]
            ratios = (found[0] / found[2], found[1] / found[3])
            cells = [loss.kind_of(dtype), direction, *map(figure, (*found, *ratios))]
            print(f"| {' | '.join(cells)} |")
        device.free()


def main() -> None:
    """Runs every variant in a process of its own and prints both and their ratio."""
    parser = _parser()
    args = parser.parse_args()
    if args.device == "cuda" and device.KIND != "cuda":
        parser.error("--device cuda: torch sees no CUDA device. Leave it out to run on the CPU.")
    if args.device == "cpu":
        device.KIND = "cpu"
    is_chunked = args.chunked or args.expected or device.KIND == "cuda"
    args.rows = args.rows or (loss.FULL["rows"] if is_chunked else 2048)
    args.hidden = args.hidden or (loss.FULL["hidden"] if is_chunked else 640)
    if args.expected:
        print_expected(_sizes(args))
        return
    if is_chunked:
        against_chunks(args)
        return
    if args.variant:
        print(json.dumps(measure(args)))
        return
    figures = {}
    for variant in VARIANTS:
        command = [sys.executable, __file__, "--device=cpu", *sys.argv[1:], "--variant", variant]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        figures[variant] = json.loads(done.stdout)
    print(f"{args.rows} rows x {args.hidden} channels x {args.tokens} tokens, {args.dtype}, CPU")
    print(f"{'':18}{'naive':>14}{'ours':>14}{'ours / naive':>14}")
    for key, naive_value in figures["naive"].items():
        value = figures["ours"][key]
        print(f"{key:18}{naive_value:14.5g}{value:14.5g}{value / naive_value:14.4f}")


if __name__ == "__main__":
    main()
