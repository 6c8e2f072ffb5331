"""BLiMP accuracy of exported models, and of the teacher that they were made from.

    python benchmarks/blimp.py --data blimp.jsonl.gz [--pairs 20] MODEL [MODEL ...]

A model is a folder that transformers loads (an export of this project, or any other). For each of
the 67 phenomena, the first pairs of the file: a pair counts if the sum of the log-likelihoods of
the good sentence (with a BOS before it where the tokenizer adds one) exceeds that of the bad one.
The script goes without this project's code: what it measures is the exported folder.
"""

import argparse
import gzip
import json
import math
from collections import defaultdict

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


@torch.inference_mode()
def log_likelihoods(folder: str, sentences: list[str], batch_size: int) -> list[float]:
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(
        folder, trust_remote_code=True, dtype=torch.bfloat16
    ).eval()
    # body in bfloat16, logits in float32: bfloat16 ones are off by up to 0.17 nats a token
    head = model.get_output_embeddings().weight.float()
    if getattr(model.config.get_text_config(), "final_logit_softcapping", None):
        raise SystemExit(f"{folder} soft-caps its logits, which this script does not do.")
    rows = [tokenizer(text)["input_ids"] for text in sentences]
    scores = [0.0] * len(rows)
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        width = max(len(rows[index]) for index in chosen)
        ids = torch.zeros(len(chosen), width, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for place, index in enumerate(chosen):
            ids[place, : len(rows[index])] = torch.tensor(rows[index])
            mask[place, : len(rows[index])] = 1
        hidden = model.get_decoder()(input_ids=ids, attention_mask=mask, use_cache=False)
        for place, index in enumerate(chosen):
            length = len(rows[index])
            logits = hidden.last_hidden_state[place, : length - 1].float() @ head.T
            found = logits.log_softmax(dim=-1).gather(1, ids[place, 1:length, None])
            scores[index] = float(found.double().sum())
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data", required=True, help="blimp.jsonl.gz")
    parser.add_argument("--pairs", type=int, default=20, help="pairs of each phenomenon")
    parser.add_argument("--batch-size", type=int, default=64)
    args = parser.parse_args()
    pairs: dict[str, list[dict]] = defaultdict(list)
    with gzip.open(args.data, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            if len(pairs[row["UID"]]) < args.pairs:
                pairs[row["UID"]].append(row)
    rows = [row for group in pairs.values() for row in group]
    sentences = [row[key] for row in rows for key in ("sentence_good", "sentence_bad")]
    for folder in args.models:
        scores = log_likelihoods(folder, sentences, args.batch_size)
        right = [good > bad for good, bad in zip(scores[::2], scores[1::2], strict=True)]
        accuracy = sum(right) / len(right)
        error = math.sqrt(accuracy * (1 - accuracy) / len(right))
        print(f"{accuracy:.4f} +- {error:.4f}  {len(right)} pairs  {folder}", flush=True)


if __name__ == "__main__":
    main()
