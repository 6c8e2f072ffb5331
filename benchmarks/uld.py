"""Time of the sorted distance of `objective=uld`, its gradient, and the whole objective.

    python benchmarks/uld.py
    python benchmarks/uld.py --teacher-tokens 262144
    python benchmarks/uld.py --noise 0.001    # the teacher is the student with a little noise

From logits on: both softmaxes, the distance, and the gradient of the student's logits. The whole
objective has the products with the output matrices too. Best of several
runs; on a machine that does other work too, compare CPU seconds, or the ratios to the product.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from alm_lightning.data.batch import SideTokens
from alm_lightning.likelihood.distributions import Distributions
from alm_lightning.likelihood.head import OutputHead
from alm_lightning.likelihood.signal import ModelSignal, Signal
from alm_lightning.objectives.baselines.sorted_distance import by_counting, sorted_distance
from alm_lightning.objectives.baselines.uld import ULD


def sorted_with_torch(student: Tensor, teacher: Tensor) -> Tensor:
    """The same distance as anybody would write it down."""
    size = max(student.shape[1], teacher.shape[1])
    padded = [
        torch.nn.functional.pad(side.sort(dim=1, descending=True).values, (0, size - side.shape[1]))
        for side in (student, teacher)
    ]
    return (padded[0] - padded[1]).abs().sum(dim=1)


def from_logits(distance: Callable, student: Tensor, teacher: Tensor) -> Tensor:
    """Gradient of the summed distance to the student's logits."""
    student = student.detach().requires_grad_()
    total = distance(student.softmax(dim=1), teacher.softmax(dim=1)).sum()
    return torch.autograd.grad(total, student)[0]


def signal_of(sides: list[tuple[Tensor, Tensor]]) -> Signal:
    """One row of tokens, all of them predicted, but for a first one."""
    rows = len(sides[0][0])
    ids = torch.zeros(1, rows, dtype=torch.long)
    tokens = SideTokens(
        ids, positions=torch.arange(rows)[None], mask=torch.ones_like(ids).bool(), chunk_ids=ids
    )
    made = [
        ModelSignal(
            optional_distributions=Distributions(
                hidden[None],
                hidden[None],
                OutputHead(weight, None, None, len(weight), None, ids[0]),
            ),
        )
        for hidden, weight in sides
    ]
    mask = tokens.has_target
    return Signal(
        student=made[0],
        optional_teacher=made[1],
        student_tokens=tokens,
        teacher_tokens=tokens,
        chunk_mask=mask,
        chunk_ends_run=mask,
        target_mask=mask,
        own_rows=torch.zeros(len(mask), dtype=torch.bool),
    )


def measured(function: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Wall and CPU seconds, the least of each."""
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return min(walls), min(cpus)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=512, help="positions")
    parser.add_argument("--tokens", type=int, default=49_152, help="of the student")
    parser.add_argument("--teacher-tokens", type=int, default=49_152)
    parser.add_argument("--hidden", type=int, default=576)
    parser.add_argument("--spread", type=float, default=3.0, help="standard deviation of logits")
    parser.add_argument("--noise", type=float, help="the teacher's logits are the student's + this")
    parser.add_argument("--threads", type=int, help="by default torch's own choice")
    parser.add_argument("--repeats", type=int, default=3)
    return parser


def main() -> None:
    """Measures each part and prints it, in seconds and as a multiple of the student's product."""
    args = _parser().parse_args()
    torch.manual_seed(0)
    if args.threads:
        torch.set_num_threads(args.threads)
    sides = []
    for tokens in (args.tokens, args.teacher_tokens):
        scale = args.spread * args.hidden**-0.5
        sides.append(
            (torch.randn(args.rows, args.hidden), scale * torch.randn(tokens, args.hidden))
        )
    if args.noise is not None:
        hidden, weight = sides[0]
        sides[1] = (hidden, weight + args.noise * args.hidden**-0.5 * torch.randn_like(weight))
    student, teacher = (hidden @ weight.T for hidden, weight in sides)
    probs = [logits.softmax(dim=1) for logits in (student, teacher)]
    for tensor in sides[0]:
        tensor.requires_grad_()
    signal = signal_of(sides)

    def products() -> tuple[Tensor, ...]:
        logits = [hidden @ weight.T for hidden, weight in sides]
        return torch.autograd.grad(logits[0].sum(), sides[0])

    parts = {
        "the student's product": lambda: sides[0][0].detach() @ sides[0][1].detach().T,
        "distance and signs": lambda: by_counting(*probs),
        "from logits to the gradient": lambda: from_logits(sorted_distance, student, teacher),
        "... with torch.sort": lambda: from_logits(sorted_with_torch, student, teacher),
        "both products, and back": products,
        "the whole objective, and back": lambda: torch.autograd.grad(ULD()(signal), sides[0]),
    }
    threads = torch.get_num_threads()
    print(f"{args.rows} x {args.tokens:,} and {args.teacher_tokens:,} tokens, {threads} threads")
    print(f"{'':32}{'wall s':>8}{'CPU s':>8}{'products':>10}")
    product = None
    for name, function in parts.items():
        wall, cpu = measured(function, args.repeats)
        product = product or cpu
        print(f"{name:32}{wall:8.3f}{cpu:8.3f}{cpu / product:10.2f}", flush=True)


if __name__ == "__main__":
    main()
