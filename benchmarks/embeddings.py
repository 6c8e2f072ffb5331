"""Starting embeddings for another vocabulary: seconds of each way, and what both sides share.

    python benchmarks/embeddings.py --student FOLDER --teacher FOLDER

Both are folders with weights and tokenizer (`save_pretrained`). Each in turn is the old model,
which gets the other's tokenizer; for orthogonal matching pursuit that other one is the donor. One
thread unless told otherwise; the seconds are those of the input matrix, loading is left out.
Pursuit takes as long for any one token as for another, and is timed on a sample of them.
"""

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch

# read when the tokenizers library first encodes
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from transformers import AutoModelForCausalLM

from alm_lightning import load_tokenizer
from alm_lightning.models.embeddings.donor import anchors
from alm_lightning.models.embeddings.fvt import FastVocabularyTransfer
from alm_lightning.models.embeddings.pursuit import Pursuit
from alm_lightning.models.embeddings.simple import Keep, Mean
from alm_lightning.models.embeddings.start import Start
from alm_lightning.tokenization.view import TokenizerView

WAYS = {"fvt": FastVocabularyTransfer(), "mean": Mean(), "keep": Keep(seed=0)}

TABLE_BYTES = 8 * 2**30


@dataclass(frozen=True)
class Side:
    name: str
    view: TokenizerView
    matrix: torch.Tensor

    @classmethod
    def load(cls, folder: Path) -> "Side":
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        return cls(
            folder.name, load_tokenizer(folder), model.get_input_embeddings().weight.detach()
        )


def direction(old: Side, new: Side, ks: list[int], batch_size: int, sample: int) -> None:
    start = Start(old.view, new.view)
    ordinary = int(new.view.table.is_content.sum())
    shared = ordinary - len(start.missing)
    specials = new.view.special_ids.values()
    by_role = sum(start.old_ids[index] >= 0 for index in specials)
    print(f"\n{old.name} -> tokenizer of {new.name}")
    print(f"  shared with the old vocabulary: {shared:,} of {ordinary:,} ({shared / ordinary:.1%})")
    print(f"  special tokens with a counterpart: {by_role} of {len(specials)}")
    for name, way in WAYS.items():
        clock = Clock()
        way.fitted(old=old.view, new=new.view)(old.matrix, side="input")
        print(f"  {name}: {clock}", flush=True)
    if ks:
        pursuits(old, new, start, ks, batch_size, sample)


def pursuits(
    old: Side, new: Side, start: Start, ks: list[int], batch_size: int, sample: int
) -> None:
    """Pursuit of a sample of tokens, and what that makes for all."""
    donor_anchors = new.matrix[torch.from_numpy(anchors(old.view, new.view))]
    missing = torch.from_numpy(start.missing)
    order = torch.randperm(len(missing), generator=torch.Generator().manual_seed(0))
    vectors = new.matrix[missing[order[:sample]]]
    for k in ks:
        pays = len(missing) * k > len(donor_anchors)
        pursuit = Pursuit(donor_anchors, table_bytes=TABLE_BYTES if pays else 0)
        if pays:
            filling = Clock()
            # a batch's worth at a time, as it is filled in use: at once would take twice the memory
            for atoms in torch.arange(len(donor_anchors)).split(4 * batch_size):
                pursuit._products.of(atoms)
            print(f"  omp, table of products: {filling}", flush=True)
        clock = Clock()
        found = [pursuit.combinations(part, sparsity=k) for part in vectors.split(batch_size)]
        print(f"  omp, k={k}, {len(vectors):,} of {len(missing):,} tokens: {clock}", flush=True)
        fitted = torch.cat([combination.of(donor_anchors) for combination in found])
        left = (fitted - vectors).norm(dim=1) / vectors.norm(dim=1)
        print(f"    left of a donor's row, median: {left.median():.3f}")


class Clock:
    """Seconds since it was made: on the wall, and of this process alone."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def __str__(self) -> str:
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        return f"{wall:.1f} s, processor {cpu:.1f} s"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--student", required=True, type=Path)
    parser.add_argument("--teacher", required=True, type=Path)
    parser.add_argument("--k", type=int, nargs="*", default=[8], help="of pursuit; none: leave out")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--sample", type=int, default=2048, help="tokens that pursuit is timed on")
    parser.add_argument("--threads", type=int, default=1)
    return parser


def main() -> None:
    args = _parser().parse_args()
    torch.set_num_threads(args.threads)
    sides = [Side.load(folder) for folder in (args.student, args.teacher)]
    direction(*sides, args.k, args.batch_size, args.sample)
    direction(*sides[::-1], args.k, args.batch_size, args.sample)


if __name__ == "__main__":
    main()
