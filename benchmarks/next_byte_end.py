"""The next byte where a teacher's token might have ended: what estimates lose to the truth.

    python benchmarks/next_byte_end.py --model smollm2_135m --text prose_en.jsonl.gz
    python benchmarks/next_byte_end.py --model gemma3_270m --text python_manual

After k bytes u of a token the teacher's next byte is exact(b) = cont(b) + e N(b). The masses cont
and e come from the pass over the text. N, the first byte of a token after the token u, is another
pass's: here for every place within a token where e is at least `--least`, as more rows of the
window's pass (each is a token u, and sees what came before it and itself). Places of smaller e
count as if nothing were lost: with the floor at most e ln(257 / floor) is.

KL(exact || estimate) in nats, mean over places. `--floor` is spread evenly over each estimate, for
cont alone leaves possible bytes out. Counts, and what is learned, are of other documents' windows.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from alm_lightning.corpus.sources.interpreter import PythonManual
from alm_lightning.models.loading import load_model, torch_dtype
from alm_lightning.models.weights.sources import Folder
from alm_lightning.tokenization.view import TokenizerView
from next_byte.estimates import Counted, Losses, afters, kl, scored
from next_byte.learned import Learned
from next_byte.places import Places, Teacher

CONF = Path(__file__).resolve().parents[1] / "conf"
BY_LENGTH = {"k = 1": 1, "2": 2, "3": 3, "4": 4, "5-8": 5, "9+": 9}
BY_END = {"e < 0.001": 0, "0.001-0.01": 1e-3, "0.01-0.1": 1e-2, "0.1-0.5": 0.1, "> 0.5": 0.5}
THRESHOLDS = (0.01, 0.05, 0.1, 0.2, 0.5)
BELOW = ("drop", "global", "counted", "learned")
"""Estimates for places below a threshold."""
SHRINKS = (0.3, 1, 3, 10, 30, 100)
"""In tokens."""


def header(*names: str) -> None:
    print("\n| " + " | ".join(names) + " |\n|" + "---|" * len(names))


def row(name: str, values: Iterable[float], digits: int = 4) -> None:
    print(f"| {name} | " + " | ".join(f"{value:,.{digits}f}" for value in values) + " |")


def groups(inner: Places) -> dict[str, np.ndarray]:
    """Places by position in the token, and by e."""
    found = {"all": np.ones(len(inner.k), dtype=bool)}
    for key, limits in ((inner.k, BY_LENGTH), (inner.e, BY_END)):
        group = np.digitize(key, list(limits.values())) - 1
        found |= {name: group == index for index, name in enumerate(limits)}
    return {name: mask for name, mask in found.items() if mask.any()}


def report_losses(losses: Losses) -> None:
    masks = groups(losses.inner)
    header("KL", *masks)
    row("places", (mask.sum() for mask in masks.values()), 0)
    row("mean e", (losses.inner.e[mask].mean() for mask in masks.values()))
    lines = losses.kl | {
        "lost by boundary's merging": losses.merging,
        "noise of drop with N at ends": losses.noise,
    }
    for name, values in lines.items():
        row(name, (values[mask].mean() for mask in masks.values()))
    header("total variation", *masks)
    for name, values in losses.variation.items():
        row(name, (values[mask].mean() for mask in masks.values()))


def report_thresholds(losses: Losses, num_bytes: int) -> None:
    e = losses.inner.e
    header("exact for e above", "share of places", "of bytes", "more tokens a token", *BELOW)
    for threshold in THRESHOLDS:
        above = e > threshold
        costs = [above.sum() / total for total in (len(e), num_bytes, num_bytes - len(e))]
        left = (np.where(above, 0, losses.kl[name]).mean() for name in BELOW)
        row(str(threshold), [*costs, *left])


def report_ends(places: Places, floor: float) -> None:
    ends = places.where(~places.is_inner)
    given_start = ends.cont + ends.e[:, None] * ends.after
    print(f"\nplaces at the end of a token    {len(ends.k):,}")
    print(f"sum of e over all places        {places.e.sum():,.0f}")
    print(f"mean e at ends                  {ends.e.mean():.4f}")
    print(f"KL(cont + e N || N) at ends     {kl(given_start, ends.after, floor).mean():.4f}")


def windows(texts: Iterable[str], view: TokenizerView, num_bytes: int) -> Iterator[list[int]]:
    """Tokens of stretches of at most `num_bytes`; texts that they do not spell are left out."""
    for text in texts:
        encoding = view.encode(text)
        if encoding.rewritten_bytes or encoding.unknown is not None:
            continue
        window: list[int] = []
        size = 0
        for token in encoding.ids.tolist():
            size += view.byte_lengths[token]
            if size > num_bytes and window:
                yield window
                window, size = [], view.byte_lengths[token]
            window.append(token)
        if window:
            yield window


def read(path: str, seed: int) -> list[str]:
    """Documents in random order."""
    if path == "python_manual":
        texts = [document.text for document in PythonManual().documents()]
    else:
        raw = Path(path).read_bytes()
        text = (gzip.decompress(raw) if path.endswith(".gz") else raw).decode("utf-8")
        is_json = ".jsonl" in path
        # lines end with \n alone: U+2028 may stand within one
        texts = [json.loads(line)["text"] for line in text.strip().split("\n") if is_json] or [text]
    return [texts[index] for index in np.random.default_rng(seed).permutation(len(texts))]


def load(name: str, dtype: str) -> Teacher:
    known = CONF / "model" / f"{name}.yaml"
    source = instantiate(OmegaConf.load(known).source) if known.is_file() else Folder(path=name)
    kind = torch_dtype(dtype, "cpu")
    return Teacher(*load_model(source, name=name, dtype=kind, attn_implementation="sdpa"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="of conf/model, or a folder")
    parser.add_argument("--text", required=True, help="JSON lines, a text, or python_manual")
    parser.add_argument("--windows", type=int, default=300, help="that are scored")
    parser.add_argument("--counted-windows", type=int, default=1000, help="others, for the counts")
    parser.add_argument("--window-bytes", type=int, default=254)
    parser.add_argument("--least", type=float, default=1e-4, help="least e that gets a pass")
    parser.add_argument("--shrink", type=float, default=3, help="of the counts, in tokens")
    parser.add_argument("--own", type=float, default=0.2, help="share of own-word in the mixture")
    parser.add_argument("--epochs", type=int, default=3, help="of what is learned")
    parser.add_argument("--floor", type=float, default=1e-6)
    parser.add_argument("--dtype", default="auto", help="of the model's body")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main() -> None:
    args = _parser().parse_args()
    torch.manual_seed(args.seed)
    teacher = load(args.model, args.dtype)
    found = windows(read(args.text, args.seed), teacher.view, args.window_bytes)
    chosen = list(islice(found, args.windows))
    others = list(islice(found, args.counted_windows))
    if not others:
        sys.exit(
            f"{args.text} has {len(chosen)} windows: expected more than --windows {args.windows}, "
            "the rest is counted. Give fewer, or a longer text."
        )
    parts = [teacher.places(window, args.least) for window in chosen]
    difference = teacher.difference(chosen[0], parts[0])
    places = Places.joined(parts)
    part = scored(places)
    print(
        f"{len(chosen)} windows, {len(places.k):,} bytes, {places.is_inner.sum():,} within tokens"
    )
    print(f"{len(part.k):,} of these were computed; {difference:.1g} from passes of their own")

    after, states = map(np.concatenate, zip(*map(teacher.after_tokens, others), strict=True))
    ids = np.concatenate(others)
    print(f"{len(ids):,} tokens in {len(others)} other windows were counted", flush=True)
    counted = Counted(ids, after, teacher.view)
    learned = Learned(teacher, counted, args.shrink)
    learned.fit(ids, states, after, args.epochs)
    guesses = afters(part, counted, args.shrink, args.own) | {"learned": learned.after(part)}
    guesses |= {f"{shrink} tokens": counted.after(part.token, shrink) for shrink in SHRINKS}
    losses = Losses(places, guesses, args.floor)
    # these are one line of their own
    by_shrink = {name: losses.kl.pop(name) for name in list(losses.kl) if "tokens" in name}
    for name in by_shrink:
        del losses.variation[name]
    report_losses(losses)
    header("shrinkage", *by_shrink)
    row("KL of counted", (values.mean() for values in by_shrink.values()))
    report_thresholds(losses, len(places.k))
    report_ends(places, args.floor)


if __name__ == "__main__":
    main()
