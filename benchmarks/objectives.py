"""Seconds a step and peak memory of every objective, relative to next-token training.

    python benchmarks/objectives.py [experiment=...] [group=option] [key=value] [--only alm,uld]

Without overrides Gemma 3 270M (262,144 tokens) teaches a student with 49,152, one sequence of
512 tokens a step. Each objective has a process of its own, and the same batches; `memory.py` says
what its figures count.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from memory import CONF, MEBIBYTE, measure

DEFAULTS = [
    "experiment=gemma_to_smollm2_tokenizer",
    "corpus=python_manual",
    "budget.steps=6",
    "budget.batch_size=1",
    "budget.micro_batch_size=1",
    "budget.student_length=512",
    "budget.teacher_length=512",
]
REFERENCE = "next_token"


def runs(arguments: list[str]) -> dict[str, list[str]]:
    """What is composed for each objective, the one first that the others are relative to."""
    names = sorted(file.stem for file in (CONF / "objective").glob("*.yaml"))
    if "--only" in arguments:
        place = arguments.index("--only")
        chosen = ",".join(arguments[place + 1 : place + 2]).split(",")
        if unknown := sorted(set(chosen) - set(names)):
            sys.exit(f"--only {','.join(unknown)}: expected some of {', '.join(names)}.")
        names, arguments = chosen, arguments[:place] + arguments[place + 2 :]
    names = [REFERENCE, *(name for name in names if name != REFERENCE)]
    return {name: [*DEFAULTS, *arguments, f"objective={name}"] for name in names}


def main() -> None:
    """Measures one objective in this process, or all of them in others."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--measure"]:
        print(json.dumps(measure(arguments[1:])))
        return
    found: dict[str, dict[str, float] | None] = {}
    for name, overrides in runs(arguments).items():
        command = [sys.executable, str(Path(__file__).resolve()), "--measure", *overrides]
        settings = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"}
        done = subprocess.run(command, env=settings, stdout=subprocess.PIPE, text=True, check=False)
        found[name] = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None
        print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    print(table(found))


def table(found: dict[str, dict[str, float] | None]) -> str:
    """One row an objective; one that could not be measured says so."""
    base = found[REFERENCE]
    lines = [
        "| objective | s a step, relative | peak memory, relative | s a step | peak (MiB) |",
        "|---|---|---|---|---|",
    ]
    for name, figures in found.items():
        if figures is None:
            lines.append(f"| `{name}` | failed, see above | | | |")
            continue
        seconds, peak = figures["seconds"], figures["peak"]
        lines.append(
            f"| `{name}` | {seconds / base['seconds']:.2f} | {peak / base['peak']:.2f} "
            f"| {seconds:.2f} | {peak / MEBIBYTE:,.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
