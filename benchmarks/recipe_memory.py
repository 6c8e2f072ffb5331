"""How much memory each published recipe takes on a card, by arithmetic on shapes; no card needed.

    python benchmarks/recipe_memory.py
    python benchmarks/recipe_memory.py --only bytes,maths --sequences 8

Forward and backward pass are run on tensors that have a shape and no memory (`on_gpu/traced.py`);
weights, states and buffers of the loss are counted (`on_gpu/expected.py`). One column a way of
computing, one row a part, in GiB; the last rows say whether it fits a card of 80 GB.
"""

import argparse
import dataclasses
import sys

from on_gpu.expected import AS_MEASURED, CARD, JOBS, Job, fits, on_one_of, parts

GIBIBYTE = 2**30
EIGHT = 8
CARDS = {1: "one card", EIGHT: "each of eight with FSDP"}


def ways(job: Job) -> dict[str, Job]:
    """The ways of computing that are compared; the first one is that of `trainer=gpu`."""
    change = dataclasses.replace
    return {
        "trainer=gpu": job,
        "8-bit states": change(job, optimizer="adamw_8bit"),
        "no checkpointing": change(job, checkpointing=False),
        "eager, no checkpointing": change(job, attention="eager", checkpointing=False),
    }


def table(name: str, columns: dict[str, Job]) -> str:
    """Parts by ways of computing."""
    found = {way: parts(job) for way, job in columns.items()}
    job = next(iter(columns.values()))
    rows = f"{job.sequences} x {job.student_length} tokens a micro-batch"
    lines = [
        f"{name}: {rows}",
        "",
        f"| GiB | {' | '.join(found)} |",
        "|---" * (len(found) + 1) + "|",
    ]
    for part in next(iter(found.values())):
        cells = [f"{sizes[part] / GIBIBYTE:,.1f}" for sizes in found.values()]
        lines.append(f"| {part} | {' | '.join(cells)} |")
    totals = {way: sum(sizes.values()) for way, sizes in found.items()}
    lines.append(f"| total | {' | '.join(f'{t / GIBIBYTE:,.1f}' for t in totals.values())} |")
    for cards in (1, EIGHT):
        held = [on_one_of(sizes, cards) for sizes in found.values()]
        said = [f"{'yes' if fits(t) else 'no'} ({t / GIBIBYTE:,.1f})" for t in held]
        lines.append(f"| fits 80 GB, {CARDS[cards]} | {' | '.join(said)} |")
    return "\n".join(lines)


def _names(text: str) -> list[str]:
    if unknown := sorted(set(text.split(",")) - set(JOBS)):
        raise argparse.ArgumentTypeError(f"{unknown}: expected some of {', '.join(JOBS)}")
    return text.split(",")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", type=_names, default=list(JOBS), help=", ".join(JOBS))
    parser.add_argument("--sequences", type=int, help="of a micro-batch; else as the recipe has")
    return parser


def main() -> None:
    args = _parser().parse_args()
    if args.sequences is not None and args.sequences < 1:
        sys.exit(f"--sequences {args.sequences}: expected 1 or more.")
    for name in args.only:
        job = JOBS[name]
        if args.sequences is not None:
            each = args.sequences
            count = max(1, job.sequences * job.micro_batches // each)
            job = dataclasses.replace(job, sequences=each, micro_batches=count)
        print(table(name, ways(job)), end="\n\n", flush=True)
    if "bytes" not in args.only:
        return
    measured = sum(parts(AS_MEASURED).values()) / GIBIBYTE
    print(
        f"bytes, as it was when an H200 said 104 GiB: {measured:,.1f} GiB by this arithmetic. "
        f"A card of 80 GB has {CARD / GIBIBYTE:.1f} GiB."
    )


if __name__ == "__main__":
    main()
