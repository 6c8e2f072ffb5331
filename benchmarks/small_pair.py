r"""A small teacher with its own 4k BPE, and an 8k BPE for students, both made here.

    python benchmarks/small_pair.py --text prose.jsonl --out small_pair [--steps 1200]

The teacher is a Llama of 4.3 million weights, trained on the text and on the Python manual, without
the tenth of each that `corpus=jsonl` and `corpus=python_manual` hold out, and taken from the step,
of each hundredth, that predicted a third of that tenth best: its figures there flatter it a little.
On such a pair thousands of steps fit into minutes. A student that starts as the teacher takes
another tokenizer:

    python train.py student=folder student.source.path=small_pair/teacher tokenizer=folder \
        tokenizer.source.path=small_pair/bpe_8k embeddings=fvt adapter=full ...
"""

import argparse
import copy
import time
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from alm_lightning.corpus.heldout import split_documents
from alm_lightning.corpus.sources.columns import PlainText
from alm_lightning.corpus.sources.files import JsonLines
from alm_lightning.corpus.sources.interpreter import PythonManual

LENGTH, BATCH = 128, 16
SIZES = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
}


def bpe(texts: list[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE with BOS, EOS and pad."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    names = ["<pad>", "<eos>", "<bos>"]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[AddedToken(name, special=True, normalized=False) for name in names],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
    )


def windows(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[list[int]]:
    """Windows of the texts, each document from its start."""
    rows = []
    for text in texts:
        tokens = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
        # every window begins with BOS, as those of a training run do
        content = tokens[1:]
        for start in range(0, len(content), LENGTH - 1):
            rows.append([tokenizer.bos_token_id, *content[start : start + LENGTH - 1]])
    return rows


def nats(model: LlamaForCausalLM, rows: list[list[int]]) -> torch.Tensor:
    """The mean of -log p over the tokens of some windows, those of BOS left out."""
    width = max(map(len, rows))
    inputs = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    labels = inputs.masked_fill(mask == 0, -100)
    return model(input_ids=inputs, attention_mask=mask, labels=labels).loss


def trained(
    tokenizer: PreTrainedTokenizerFast, texts: list[str], heldout: list[str], steps: int
) -> LlamaForCausalLM:
    """A Llama, as it was when it predicted held-out text best: of more it only learns by heart."""
    torch.manual_seed(0)
    ids = dict(zip(("pad_token_id", "eos_token_id", "bos_token_id"), range(3), strict=True))
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **SIZES, **ids))
    rows = windows(tokenizer, texts)
    print(f"{sum(map(len, rows)):,} tokens in {len(rows):,} windows", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps)
    order = torch.Generator().manual_seed(0)
    others = windows(tokenizer, heldout)
    # each batch is from all over the held-out text
    batches = max(1, len(others) // BATCH)
    unseen = [others[i::batches] for i in range(0, batches, 3)]
    least, best = float("inf"), {}
    began = time.time()
    for step in range(steps):
        chosen = [rows[i] for i in torch.randint(len(rows), (BATCH,), generator=order)]
        loss = nats(model, chosen)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99 or step == steps - 1:
            model.eval()
            with torch.no_grad():
                value = float(torch.stack([nats(model, batch) for batch in unseen]).mean())
            model.train()
            if value < least:
                least, best = value, copy.deepcopy(model.state_dict())
            print(
                f"step {step + 1}: {loss:.3f} nats, held out {value:.3f}, "
                f"{time.time() - began:.0f} s",
                flush=True,
            )
    model.load_state_dict(best)
    return model.eval()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", required=True, help="JSON lines with a column `text`")
    parser.add_argument("--out", required=True, type=Path, help="the folder to make")
    parser.add_argument("--steps", type=int, default=1200)
    return parser


def main() -> None:
    """Trains the tokenizers and the teacher, and writes them."""
    args = _parser().parse_args()
    if args.out.exists():
        _parser().error(f"{args.out} exists; give a folder that does not")
    sources = (JsonLines(path=args.text, column="text", reader=PlainText()), PythonManual())
    # the same share and seed as in conf/corpus
    splits = [split_documents(s.documents(), heldout_share=0.1, seed=0) for s in sources]
    texts = [document.text for split in splits for document in split.train]
    heldout = [document.text for split in splits for document in split.heldout]
    args.out.mkdir(parents=True)
    old = bpe(texts, 4096)
    bpe(texts, 8192).save_pretrained(args.out / "bpe_8k")
    model = trained(old, texts, heldout, args.steps)
    model.save_pretrained(args.out / "teacher")
    old.save_pretrained(args.out / "teacher")
    print(f"{sum(p.numel() for p in model.parameters()):,} weights, in {args.out}")


if __name__ == "__main__":
    main()
