"""BLiMP accuracy of exported models, and of the teacher that they were made from.

    python benchmarks/blimp.py --data blimp.jsonl.gz [--pairs 100] [--json FILE] MODEL [MODEL ...]

A model is a folder that transformers loads (an export of this project, or any other). For each of
the 67 phenomena, the first pairs of the file: a pair counts if the sum of the log-likelihoods of
the good sentence (after a BOS where the tokenizer adds one; else its first token has none) exceeds
that of the bad one. The standard error is that of a mean over pairs.

No model is loaded by this project's code: what is measured is the exported folder.
"""

import argparse
import gzip
import json
import math
import time
from collections import defaultdict
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from alm_lightning.likelihood.hardware import multiplies_bfloat16

MOST_LOGITS = 2**24
"""Made at a time, in one place: asking for the memory anew would cost as much as the sums."""


def tokenizer_class(folder: str) -> type:
    """The class that reads the tokenizer as it was written: an export's card names it."""
    card = Path(folder) / "README.md"
    named = card.is_file() and "tokenizer = PreTrainedTokenizerFast." in card.read_text("utf-8")
    return PreTrainedTokenizerFast if named else AutoTokenizer


@torch.inference_mode()
def log_likelihoods(folder: str, sentences: list[str], batch_size: int) -> dict[str, float]:
    tokenizer = tokenizer_class(folder).from_pretrained(folder, trust_remote_code=False)
    # the same as models.loading.torch_dtype("auto", "cpu"); importing that would register the
    # project's own class of byte models in place of the code that lies in the folder
    dtype = torch.bfloat16 if multiplies_bfloat16("cpu") else torch.float32
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, dtype=dtype).eval()
    # body in bfloat16, logits in float32: bfloat16 ones are off by up to 0.17 nats a token
    head = model.get_output_embeddings().weight.float()
    if getattr(model.get_output_embeddings(), "bias", None) is not None:
        raise SystemExit(f"{folder} has an output bias, which this script does not add.")
    if getattr(model.config.get_text_config(), "final_logit_softcapping", None):
        raise SystemExit(f"{folder} soft-caps its logits, which this script does not do.")
    logits = torch.empty(max(MOST_LOGITS // len(head), 1), len(head))
    # sentences recur; those of one length side by side
    rows = {text: tokenizer(text)["input_ids"] for text in sentences}
    order = sorted(rows, key=lambda text: len(rows[text]))
    scores = {}
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        lengths = torch.tensor([len(rows[text]) for text in chosen])
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        ids = torch.zeros(mask.shape, dtype=torch.long)
        ids[mask] = torch.tensor([index for text in chosen for index in rows[text]])
        hidden = model.get_decoder()(
            input_ids=ids, attention_mask=mask.long(), use_cache=False
        ).last_hidden_state
        has_next = mask[:, 1:]
        states, targets = hidden[:, :-1][has_next].float(), ids[:, 1:][has_next]
        found = torch.zeros(has_next.shape, dtype=torch.double)
        parts = zip(states.split(len(logits)), targets.split(len(logits)), strict=True)
        found[has_next] = torch.cat([log_probability(*part, head, logits) for part in parts])
        scores |= dict(zip(chosen, found.sum(dim=1).tolist(), strict=True))
    return scores


def log_probability(
    states: torch.Tensor, targets: torch.Tensor, head: torch.Tensor, logits: torch.Tensor
) -> torch.Tensor:
    logits = torch.mm(states, head.T, out=logits[: len(states)])
    of_target = logits.gather(1, targets[:, None])[:, 0]
    largest = logits.amax(dim=1)
    mass = logits.sub_(largest[:, None]).exp_().sum(dim=1)
    return (of_target - largest - mass.log()).double()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data", required=True, help="blimp.jsonl.gz")
    parser.add_argument("--pairs", type=int, default=20, help="pairs of each phenomenon")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--json", type=Path, help="a file to which one line a model is added")
    return parser


def main() -> None:
    args = _parser().parse_args()
    pairs: dict[str, list[dict]] = defaultdict(list)
    with gzip.open(args.data, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            if len(pairs[row["UID"]]) < args.pairs:
                pairs[row["UID"]].append(row)
    keys = ("sentence_good", "sentence_bad")
    sentences = [row[key] for group in pairs.values() for row in group for key in keys]
    for folder in args.models:
        started = time.perf_counter()
        scores = log_likelihoods(folder, sentences, args.batch_size)
        right = {
            name: [scores[row["sentence_good"]] > scores[row["sentence_bad"]] for row in group]
            for name, group in pairs.items()
        }
        count = sum(map(len, right.values()))
        accuracy = sum(map(sum, right.values())) / count
        error = math.sqrt(accuracy * (1 - accuracy) / count)
        seconds = time.perf_counter() - started
        print(
            f"{accuracy:.4f} +- {error:.4f}  {count} pairs  {seconds:.0f} s  {folder}", flush=True
        )
        if args.json:
            by_phenomenon = {name: sum(found) / len(found) for name, found in right.items()}
            record = {"model": folder, "accuracy": accuracy, "standard_error": error}
            record |= {"pairs": count, "by_phenomenon": by_phenomenon}
            with args.json.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
