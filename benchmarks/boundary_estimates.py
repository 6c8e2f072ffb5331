"""How well the mass on boundary tokens is estimated from the likeliest tokens alone.

    python benchmarks/boundary_estimates.py --model FOLDER --text FILE

A teacher behind an endpoint gives a few alternatives for each token. Here a model gives all, so
that estimates from the likeliest k can be compared with the mass itself. `--text` is a text file
or JSON lines with a column `text`, `--model` a folder with a model and its tokenizer.
"""

import argparse
import gzip
import json
from pathlib import Path

import numpy as np
import torch

from alm_lightning.models.loading import load_model
from alm_lightning.models.weights.sources import Folder
from alm_lightning.scores.server.answers import Answer
from alm_lightning.scores.server.boundary import boundary_logprobs

COUNTS = (5, 20, 100)
THRESHOLD = 0.1
"""The default of `objective.alm.threshold`: which chunks are merged hangs on it."""


def read(path: Path) -> list[str]:
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    text = raw.decode("utf-8")
    if ".jsonl" in path.name:
        return [json.loads(line)["text"] for line in text.strip().split("\n")]
    return [text]


def pieces(texts: list[str], view, count: int, length: int) -> list[list[int]]:
    """Sequences from all over the texts, each with its start token."""
    step = max(len(texts) // count, 1)
    found = []
    for text in texts[::step]:
        ids = view.encode(text).ids.tolist()
        found += [
            [view.start_id, *ids[first : first + length - 1]]
            for first in range(0, len(ids), length - 1)
        ]
    return found[:count] if len(texts) >= count else found[:: max(len(found) // count, 1)][:count]


def answer(logprobs: np.ndarray, ids: np.ndarray, count: int, is_boundary: np.ndarray) -> Answer:
    """What an endpoint would say: the likeliest tokens, and the one that stands there."""
    own = logprobs[np.arange(len(ids) - 1), ids[1:]]
    top = np.argpartition(-logprobs, count - 1, axis=1)[:, :count]
    values = np.take_along_axis(logprobs, top, axis=1)
    missing = np.ones(len(ids), dtype=bool)
    missing[:-1] = ~(top[:-1] == ids[1:, None]).any(1)
    missing[-1] = False
    # after the last token nothing stands
    extra = np.where(missing, np.append(ids[1:], -1), -1)
    top = np.column_stack([top, extra])
    values = np.column_stack([values, np.where(missing, np.append(own, -np.inf), -np.inf)])
    return Answer(
        logprobs=np.append(0.0, own),
        ids=np.vstack([np.full(count + 1, -1), top]),
        alternative_logprobs=np.vstack([np.full(count + 1, -np.inf), values]),
        is_boundary=np.vstack([np.zeros(count + 1, dtype=bool), is_boundary[top] & (top >= 0)]),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--length", type=int, default=256, help="tokens of a sequence at most")
    return parser


def main() -> None:
    given = _parser().parse_args()
    model, view = load_model(
        Folder(path=str(given.model)),
        name="the model",
        dtype=torch.float32,
        attn_implementation="sdpa",
    )
    is_boundary = np.zeros(view.num_tokens, dtype=bool)
    is_boundary[view.boundary_ids] = True
    true: list[np.ndarray] = []
    seen: dict[int, list[np.ndarray]] = {count: [] for count in COUNTS}
    found: dict[tuple[int, str], list[np.ndarray]] = {}
    for ids in pieces(read(given.text), view, given.sequences, given.length):
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, :, : view.num_tokens]
        logprobs = logits.log_softmax(-1).numpy().astype(np.float64)
        true.append(np.exp(logprobs[:, is_boundary]).sum(1))
        for count in COUNTS:
            said = answer(logprobs, np.array(ids), count, is_boundary)
            estimate, mass = boundary_logprobs(said)
            probs = np.exp(said.alternative_logprobs[1:])
            of_boundary = (probs * said.is_boundary[1:]).sum(1)
            seen[count].append(mass)
            for name, values in (
                ("nothing", of_boundary),
                ("the share by mass", of_boundary / mass),
                ("the share by number", np.exp(estimate)),
            ):
                found.setdefault((count, name), []).append(values)
    masses = np.concatenate(true)
    print(f"{len(masses):,} tokens")
    print()
    print("| k | mass of the k | of the rest | error | flips at 0.1 | error in nats |")
    print("|---|---|---|---|---|---|")
    # of masses that matter; a logarithm of 0 would have no bound
    counts = masses > 0.01
    for (count, name), parts in found.items():
        values = np.concatenate(parts)
        nats = np.abs(np.log(np.maximum(values, 1e-8)) - np.log(np.maximum(masses, 1e-8)))[counts]
        print(
            f"| {count} | {np.concatenate(seen[count]).mean():.1%} | {name} | "
            f"{np.abs(values - masses).mean():.4f} | "
            f"{((values > THRESHOLD) != (masses > THRESHOLD)).mean():.2%} | {nats.mean():.3f} |"
        )


if __name__ == "__main__":
    main()
