"""Cost of comparing whole distributions over one vocabulary: KL, total variation, by slice size.

    python benchmarks/one_vocabulary.py
    python benchmarks/one_vocabulary.py --slices 24 26 27 --repeats 3

Value and gradients of a sum over slices of positions, from hidden states on, in bfloat16 under
autocast: student's output matrix float32 and trained, teacher's bfloat16. `columns picked` copies
the shared tokens of both sides, as must be done for two vocabularies, and normalises again. The
lowest CPU time of several runs, and as a multiple of the student's product and its gradients alone.
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from alm_lightning.likelihood import slices
from alm_lightning.likelihood.distributions import Distributions
from alm_lightning.likelihood.head import OutputHead
from alm_lightning.objectives.vocabularies.shared import SharedVocabulary
from uld import measured

Compare = Callable[[Tensor, Tensor], Tensor]


def side(rows: int, tokens: int, hidden: int, weight_dtype: torch.dtype) -> Distributions:
    """Random distributions of one position more than are compared, which is predicted by none."""
    states = torch.randn(1, rows + 1, hidden).bfloat16()
    weight = (3 * hidden**-0.5 * torch.randn(tokens, hidden)).to(weight_dtype)
    head = OutputHead(weight, None, None, tokens, None, torch.arange(1))
    return Distributions(states, states, head)


def kl(student: Tensor, teacher: Tensor) -> Tensor:
    return torch.nn.functional.kl_div(student, teacher, log_target=True, reduction="sum")


def picked_kl(student: Tensor, teacher: Tensor) -> Tensor:
    return kl(student.log_softmax(dim=1), teacher.log_softmax(dim=1))


def total_variation(student: Tensor, teacher: Tensor) -> Tensor:
    return (teacher.exp() - student.exp()).relu().sum()


def compared(
    student: Distributions, teacher: Distributions, shared: SharedVocabulary, compare: Compare
) -> None:
    """Value and gradients of one comparison."""
    places = torch.arange(1, student.hidden.shape[1])

    def of_slice(part: Distributions, rows: Tensor) -> Tensor:
        own = shared.of_student(part.logprobs(rows))
        with torch.no_grad():
            other = shared.of_teacher(teacher.logprobs(rows))
        return compare(own, other)

    with torch.autocast("cpu", torch.bfloat16):
        total = slices.sum_over_slices(of_slice, student, places, num_tokens=student.num_tokens)
    torch.autograd.grad(total, [student.hidden, student.head.weight])


def product(student: Distributions) -> None:
    """The student's product alone, and back."""
    hidden, weight = student.hidden.detach(), student.head.weight.detach().bfloat16()
    logits = hidden[0, :-1] @ weight.T
    torch.mm(logits, weight)
    torch.mm(logits.T, hidden[0, :-1])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=768, help="positions")
    parser.add_argument("--tokens", type=int, default=151_665, help="of both sides")
    parser.add_argument("--hidden", type=int, default=576, help="of the student")
    parser.add_argument("--teacher-hidden", type=int, default=896)
    parser.add_argument(
        "--slices", type=int, nargs="+", default=[24, 26], help="log2 of the logits in a slice"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=2)
    return parser


def main() -> None:
    """Prints a row for each comparison and size of slices."""
    args = _parser().parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    student = side(args.rows, args.tokens, args.hidden, torch.float32)
    teacher = side(args.rows, args.tokens, args.teacher_hidden, torch.bfloat16)
    student.hidden.requires_grad_()
    student.head.weight.requires_grad_()
    everything = np.arange(args.tokens)
    whole = SharedVocabulary(everything, everything)
    # the same tokens in another order
    picked = SharedVocabulary(*[np.roll(everything, 1)] * 2)
    ways: dict[str, tuple[SharedVocabulary, Compare]] = {
        "KL, columns picked": (picked, picked_kl),
        "KL": (whole, kl),
        "total variation": (whole, total_variation),
    }
    _, unit = measured(lambda: product(student), args.repeats)
    print(f"{args.rows} x {args.tokens:,} tokens, threads: {args.threads}")
    print(f"{'':24}{'slices':>8}{'CPU s':>8}{'products':>10}")
    print(f"{'product, and back':24}{'':8}{unit:8.2f}{1:10.2f}")
    for power in args.slices:
        slices.SLICE_ELEMENTS = 2**power
        for name, way in ways.items():
            _, cpu = measured(lambda way=way: compared(student, teacher, *way), args.repeats)
            print(f"{name:24}{f'2^{power}':>8}{cpu:8.2f}{cpu / unit:10.2f}", flush=True)


if __name__ == "__main__":
    main()
