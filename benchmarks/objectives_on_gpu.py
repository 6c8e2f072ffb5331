r"""Objectives side by side on one GPU: what each makes of SmolLM2-135M on bytes, in five minutes.

    python benchmarks/objectives_on_gpu.py
    python benchmarks/objectives_on_gpu.py --weights SmolLM2-135M-Instruct --text documentation \
        --other prose_en.jsonl.gz --other-last 0.1 --seeds 0,1 --side-by-side 8
    python benchmarks/objectives_on_gpu.py -- balance=fixed budget.micro_batch_size=8
    python benchmarks/objectives_on_gpu.py --quick

Full fine-tuning, 160 steps of 32 x 512 bytes. Each run is a `python train.py` of its own, whose
settings come last, after ``--``. Runs share the card, so that their seconds a step are those beside
the others. A run that would not end in time stops training early, and is measured as it is: its
row says how many steps it had, and its learning rate had not come down.
"""

import argparse
import gzip
import json
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from alm_lightning.app.bakeoff.figures import over_runs
from alm_lightning.models.weights.gguf import convert_once, sha256_of
from on_gpu.runs import ROOT, Run, do_all
from on_gpu.tiny import llama_folder

WARM_UP = 3
"""Steps whose seconds are not counted."""
SETTINGS = [
    *("experiment=gemma_to_bytes", "name=objectives_on_gpu", "trainer=auto", "sample_prompts=0"),
    *("budget.batch_size=32", "budget.micro_batch_size=32", "budget.evaluation_windows=256"),
    # a teacher's window is never the shorter one: it has fewer tokens than bytes
    *("budget.student_length=512", "budget.teacher_length=512"),
    # the models are small, and their runs short
    *("callbacks.checkpoint=null", "callbacks.save_when_stopped=null"),
]
QUICK = [
    *("trainer=cpu", "trainer.precision=32-true", "student.dtype=float32"),
    *("budget.batch_size=2", "budget.micro_batch_size=2", "budget.evaluation_windows=4"),
    *("budget.student_length=64", "budget.teacher_length=64"),
]
FIGURES = {
    "bits per byte": ("bits_per_byte", "teacher", "student_before", "student_after"),
    "other domain": ("bits_per_byte_other", "teacher", "student_before", "student_after"),
    "difference, nats": ("chunk_difference", None, "before", "after"),
    "other domain, nats": ("chunk_difference", None, "before_other", "after_other"),
}
"""Where a run's summary has a figure: of the teacher, before and after."""


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--weights", type=Path, help="a model's folder or GGUF file; else SmolLM2")
    parser.add_argument("--text", type=Path, help="to train on: text, JSON lines or a folder")
    parser.add_argument("--other", type=Path, help="of another domain, to measure on: the same")
    parser.add_argument("--other-last", type=float, help="only this share of its lines, the last")
    names = "next_token,alm_next_token,alm_next_token_hidden,next_byte_hidden"
    parser.add_argument("--objectives", type=_names, default=names, help="files of conf/objective")
    parser.add_argument("--seeds", type=_names, default="0")
    parser.add_argument("--rates", type=_names, default="3e-4", help="peak learning rates")
    parser.add_argument("--steps", type=int, help="160, with --quick 3")
    parser.add_argument("--side-by-side", type=int, default=4, help="runs at a time")
    parser.add_argument("--time-limit", type=float, default=285, help="in seconds, for everything")
    parser.add_argument("--out", type=Path, help="keeps the runs here; else they are removed")
    parser.add_argument("--json", type=Path, help="writes figures and commands to this file")
    parser.add_argument("--quick", action="store_true", help="tiny shapes on the CPU")
    parser.add_argument("overrides", nargs="*", help="settings of train.py, after --")
    return parser


def main() -> None:
    args = _parser().parse_args()
    deadline = time.time() + args.time_limit
    known = {file.stem for file in (ROOT / "conf" / "objective").glob("*.yaml")}
    if unknown := sorted(set(args.objectives) - known):
        sys.exit(f"--objectives {','.join(unknown)}: expected some of {', '.join(sorted(known))}.")
    if args.out is not None and args.out.exists():
        sys.exit(f"--out {args.out} exists: give a folder that does not, or remove it.")
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.out or Path(temporary, "runs")).resolve()
        folder.mkdir(parents=True)
        # seed by seed: what is cut off is the last seeds, of all objectives alike
        runs = [
            Run(objective, rate, seed, folder / f"{objective}_{rate}_{seed}")
            for seed in args.seeds
            for rate in args.rates
            for objective in args.objectives
        ]
        shared = [*settings(args, folder), *args.overrides]
        do_all(runs, shared, side_by_side=args.side_by_side, deadline=deadline)
        print(table(runs))
        if args.json is not None:
            args.json.write_text(json.dumps(record(runs, shared), indent=2) + "\n", "utf-8")
    if all(run.summary is None for run in runs):
        sys.exit("no run came to its end: see the errors above, or give a longer --time-limit.")


def settings(args: argparse.Namespace, folder: Path) -> list[str]:
    """What all runs have in common."""
    steps = args.steps or (3 if args.quick else 160)
    found = [*SETTINGS, f"budget.steps={steps}"]
    weights = args.weights
    if args.quick and weights is None:
        weights = llama_folder(folder / "tiny")
    if weights is None:
        found.append("student=smollm2_135m")
    else:
        if weights.is_file():
            name, digest = weights.stem.lower(), sha256_of(weights)
            weights = convert_once([weights], name=name, sha256=digest)
        found += ["student=folder", f"student.source.path={weights.resolve()}"]
    if args.text is not None:
        found += corpus("corpus", args.text)
    if args.other is not None:
        other = args.other
        if args.other_last is not None:
            other = last_lines(other, args.other_last, folder / "other.jsonl")
        # nothing of it is trained on: all but a document may be measured on
        share = "corpus_other.heldout_share=0.99"
        found += [*corpus("corpus_other", other), share]
    return [*found, *(QUICK if args.quick else [])]


def corpus(node: str, path: Path) -> list[str]:
    """The settings that read a path; of a folder of texts each file is a document."""
    group = "corpus" if node == "corpus" else f"corpus@{node}"
    is_json = ".jsonl" in path.name or (path.is_dir() and any(path.rglob("*.jsonl*")))
    found = [f"{group}={'jsonl' if is_json else 'text'}", f"{node}.source.path={path.resolve()}"]
    return found if is_json or path.is_file() else [*found, f"{node}.source.separator=null"]


def last_lines(path: Path, share: float, target: Path) -> Path:
    """The last lines of a file of JSON lines, in a file of their own."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as opened:
        lines = opened.read().splitlines(keepends=True)
    target.write_bytes(b"".join(lines[round(len(lines) * (1 - share)) :]))
    return target


def table(runs: list[Run]) -> str:
    """One row an objective and rate: means over seeds, with standard errors."""
    titles = [*FIGURES, "s a step", "peak (GiB)", "steps", "seeds"]
    lines = [f"| objective | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    ended = [run for run in runs if run.summary is not None]
    for place, name in enumerate(("teacher", "before")) if ended else ():
        cells = [cell([before_of(ended[0].summary, figure, place)]) for figure in FIGURES]
        lines.append(f"| {name} | {' | '.join(cells)} | | | | |")
    several = len({run.rate for run in runs}) > 1
    groups: dict[str, list[Run]] = {}
    for run in runs:
        name = f"{run.objective}, {run.rate}" if several else run.objective
        groups.setdefault(name, []).append(run)
    for name, group in groups.items():
        done = [run for run in group if run.summary is not None]
        if not done:
            lines.append(f"| {name} | {group[0].error} |" + " |" * (len(titles) - 1))
            continue
        cells = [cell([after_of(run.summary, figure) for run in done]) for figure in FIGURES]
        cells.append(cell([statistics.median(run.steps[WARM_UP:] or run.steps) for run in done]))
        cells.append(cell([run.summary["peak_memory_bytes"] / 2**30 for run in done]))
        cells.append("/".join(sorted({str(run.summary["steps"]) for run in done})))
        lines.append(f"| {name} | {' | '.join(cells)} | {len(done)} of {len(group)} |")
    return "\n".join(lines)


def before_of(summary: dict, figure: str, place: int) -> float:
    """A figure of the teacher (0) or of the student before training (1)."""
    group, *keys, _ = FIGURES[figure]
    return summary[group][keys[place]] if keys[place] else 0.0


def after_of(summary: dict, figure: str) -> float:
    group, *_, key = FIGURES[figure]
    return summary[group][key]


def cell(values: list[float]) -> str:
    mean, error = over_runs(values)
    return f"{mean:.3f}" + ("" if error is None else f" ± {error:.3f}")


def record(runs: list[Run], shared: list[str]) -> dict:
    """All that is worth keeping: figures by run, and what they were measured on."""
    return {
        "settings": shared,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "torch": torch.__version__,
        "runs": [
            {
                "objective": run.objective,
                "rate": run.rate,
                "seed": run.seed,
                "seconds_of_steps": run.steps,
                "error": run.error,
                "summary": run.summary,
            }
            for run in runs
        ],
    }


if __name__ == "__main__":
    main()
