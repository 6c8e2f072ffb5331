r"""One table of what this project does on a card: rates, the recipes' steps, checks, a profile.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --tokenizer gemma2=gemma/tokenizer.json --text linux/Documentation
    python benchmarks/gpu.py --only loss,steps --json found.json
    python benchmarks/gpu.py --only bytes,profile -- objective=alm_next_token_hidden
    python benchmarks/gpu.py -- budget.micro_batch_size=8 maths:budget.micro_batch_size=16
    python benchmarks/gpu.py --quick
    python benchmarks/gpu.py --expect

Below 5 minutes on one card, without a network: models have their real shapes and random weights,
tokenizers the real numbers of tokens. Each part is a process of its own, so that one that fails, or
runs out of memory, leaves nothing behind; its error is in the table, and the exit code is 1.
Settings of `train.py` come last, after ``--``: for all recipes, or for one, as ``maths:key=value``.
``--quick`` does the same in small on the CPU. ``--expect`` measures nothing: it says what is
expected of an H200, by arithmetic, on any machine.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import torch

# a card may be at hand where the project is not installed
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from on_gpu import device
from on_gpu.processes import MARK, NEVER_LATER, Part
from on_gpu.rows import Row, as_json, one_line, table

RECIPES = ["bytes", "subword", "maths"]
LIMITS = {"loss": 60, "losses": 100, "resume": 45, **dict.fromkeys(RECIPES, 150)}
"""The most seconds that a part may take, in the order in which they are done."""
MEMORY = "memory"
"""A part that needs no card and runs beside the others: how much memory is expected."""
FAMILIES = ["gemma2", "qwen2", "llama3"]


def _tokenizer(text: str) -> tuple[str, Path]:
    family, found, path = text.partition("=")
    if not found:
        family, path = "gemma2", text
    if family not in FAMILIES:
        raise argparse.ArgumentTypeError(f"{family!r}: expected one of {', '.join(FAMILIES)}")
    return family, Path(path).resolve()


def _parts(text: str) -> list[str]:
    known = ["loss", "losses", "resume", "steps", *RECIPES, "profile"]
    if unknown := sorted(set(text.split(",")) - set(known)):
        raise argparse.ArgumentTypeError(f"{unknown}: expected some of {', '.join(known)}")
    return text.split(",")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--tokenizer",
        type=_tokenizer,
        action="append",
        default=[],
        metavar="[FAMILY=]PATH",
        help=f"of {', '.join(FAMILIES)}; the first if none is named. Else made here",
    )
    parser.add_argument("--text", type=Path, help="to train on; else Python's manual")
    parser.add_argument("--only", type=_parts, help="loss, losses, resume, steps (or a recipe), ..")
    parser.add_argument(
        "--time-limit", type=float, help="seconds for everything: 295, --quick 1200"
    )
    parser.add_argument("--json", type=Path, help="writes the table and its settings to this file")
    parser.add_argument("--quick", action="store_true", help="tiny shapes on the CPU")
    parser.add_argument("--expect", action="store_true", help="by arithmetic, for an H200")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", help="settings of train.py, after --")
    return parser


def main() -> None:
    args = _parser().parse_args()
    if args.part is not None:
        for row in rows_of(args):
            print(f"{MARK}{json.dumps(dataclasses.asdict(row))}", flush=True)
        return
    for path in [*(path for _, path in args.tokenizer), *filter(None, [args.text])]:
        if not path.exists():
            sys.exit(f"there is no {path}: expected a tokenizer's or a text's file or folder.")
    if args.expect:
        print(table(expected_rows()))
        return
    if not args.quick and device.KIND == "cpu":
        sys.exit("torch sees no card: run this where there is one, or with --quick on the CPU.")
    started = time.time()
    limit = args.time_limit or (1200 if args.quick else 295)
    with tempfile.TemporaryDirectory() as temporary:
        # of tiny models, and of other settings than the recipes', nothing is expected
        is_known = not args.quick and not args.overrides
        memory = Part(MEMORY, Path(temporary), sys.argv[1:], quick=True) if is_known else None
        names, deadline = chosen(args.only), started + limit
        try:
            found = all_parts(names, Path(temporary), quick=args.quick, deadline=deadline)
            sizes = [] if memory is None else memory.rows(seconds=NEVER_LATER)
        finally:
            if memory is not None:
                memory.end()
    rows = arranged(found, args.only)
    if is_known:
        rows += compared(rows, sizes)
    name = "CPU" if args.quick else device.name()
    print(f"{name}, torch {torch.__version__}, {time.time() - started:.0f} s\n")
    print(table(rows, quick=args.quick))
    if args.json is not None:
        record = {"device": name, "torch": torch.__version__, "rows": as_json(rows)}
        args.json.write_text(json.dumps({**record, "arguments": sys.argv[1:]}, indent=2) + "\n")
    if wrong := [row for row in rows if row.error is not None]:
        sys.exit(f"{len(wrong)} of {len(rows)} lines are errors.")


def expected_rows() -> list[Row]:
    """What is expected of an H200."""
    from on_gpu import expectation

    rows = [
        Row("loss", "matrix product, bf16 (TFLOP/s)", expected=expectation.PRODUCT_RATE / 1e12),
        Row("loss", "copy (TB/s)", expected=expectation.COPY_RATE / 1e12),
    ]
    for name in RECIPES:
        found = {**expectation.step(name), **expectation.memory(name)}
        rows += [Row(name, what, expected=value) for what, value in found.items()]
    return rows


def compared(rows: list[Row], sizes: list[Row]) -> list[Row]:
    """Puts what is expected beside what was measured; returns what went wrong with that."""
    try:
        compare(rows, sizes)
    except Exception as error:
        # minutes of measurements are worth a table without it
        return [Row("expected", "all of it", error=one_line(error))]
    return [row for row in sizes if row.error is not None]


def compare(rows: list[Row], sizes: list[Row]) -> None:
    """Puts what is expected at the rates of this card beside what was measured."""
    from on_gpu import expectation

    measured = {(row.part, row.what): row.measured for row in rows}
    rates = [
        float(measured.get(("loss", what)) or known) * unit
        for what, known, unit in (
            ("matrix product, bf16 (TFLOP/s)", expectation.PRODUCT_RATE / 1e12, 1e12),
            ("copy (TB/s)", expectation.COPY_RATE / 1e12, 1e12),
        )
    ]
    wanted = {(row.part, row.what): row.expected for row in sizes}
    for name in RECIPES:
        found = expectation.step(name, *rates)
        wanted |= {(name, what): value for what, value in found.items()}
    for row in rows:
        # the loss says itself what is expected of it
        row.expected = wanted.get((row.part, row.what), row.expected)


def chosen(only: list[str] | None) -> list[str]:
    """The parts to do; a profile comes with the steps of a recipe."""
    wanted = set(only or LIMITS)
    if "steps" in wanted or ("profile" in wanted and not wanted & set(RECIPES)):
        wanted |= set(RECIPES)
    return [part for part in LIMITS if part in wanted]


def all_parts(
    names: list[str], folder: Path, *, quick: bool, deadline: float
) -> dict[str, list[Row]]:
    """The lines of each part, one part after another; the next one prepares itself meanwhile."""
    found, started = {}, {}

    def start(name: str) -> Part:
        return Part(name, folder, sys.argv[1:], quick=quick)

    try:
        for name, following in zip(names, [*names[1:], None], strict=True):
            print(f"{name} ...", file=sys.stderr, flush=True)
            for each in (name, following):
                if each is not None and each not in started:
                    started[each] = start(each)
            left = deadline - time.time()
            # a busy machine may need longer for tiny shapes, where no card costs money
            found[name] = started[name].rows(seconds=left if quick else min(left, LIMITS[name]))
    finally:
        for part in started.values():
            part.end()
    return found


def rows_of(args: argparse.Namespace) -> Iterator[Row]:
    """What a process of its own does; whatever goes wrong in it is a line of the table."""
    # these take seconds to import, which the process that starts others has no need of
    from on_gpu.checks import losses_rows, resume_rows
    from on_gpu.expectation import memory
    from on_gpu.loss import loss_rows
    from on_gpu.recipes import Settings, build
    from on_gpu.steps import steps_rows

    settings = Settings(
        args.quick, dict(args.tokenizer), args.text and args.text.resolve(), args.overrides
    )
    try:
        if args.part == MEMORY:
            # no card is waited for
            for name in RECIPES:
                for what, value in memory(name).items():
                    yield Row(name, what, expected=value)
            return
        built = build(args.part, settings, args.folder) if args.part in RECIPES else None
        # until the part before has left the device
        sys.stdin.readline()
        if args.part == "loss":
            yield from loss_rows(quick=args.quick)
        elif args.part == "losses":
            yield from losses_rows(settings, args.folder)
        elif args.part == "resume":
            yield from resume_rows(settings, args.folder)
        else:
            yield from steps_rows(args.part, built, quick=args.quick)
    except Exception as error:
        traceback.print_exc()
        yield Row(args.part, "the rest of it", error=one_line(error))


def arranged(found: dict[str, list[Row]], only: list[str] | None) -> list[Row]:
    """All lines in order; of the profiles, that of the slowest recipe, at the end."""
    rows = [row for part in found.values() for row in part if row.part != "profile"]
    if only is not None and "profile" not in only:
        return rows
    seconds = {
        row.part: float(row.measured)
        for row in rows
        if row.part in RECIPES and row.what == "a step (s)" and row.measured is not None
    }
    if not seconds:
        return rows
    slowest = max(seconds, key=seconds.__getitem__)
    return [*rows, *(row for row in found[slowest] if row.part == "profile")]


if __name__ == "__main__":
    main()
