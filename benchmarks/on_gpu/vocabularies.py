"""Tokenizers for models of real shapes: of a file, or made here, as large as the real ones."""

import json
from itertools import islice
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from alm_lightning.corpus.sources.interpreter import PythonManual
from alm_lightning.tokenization.load import load_tokenizer

SPECIALS = {"pad": "<pad>", "eos": "<eos>", "bos": "<bos>"}
"""Names of special tokens by role, in the order of their ids."""
USUAL = {
    "eos": ["<eos>", "</s>", "<|end_of_text|>", "<|endoftext|>", "<|im_end|>"],
    "bos": ["<bos>", "<s>", "<|begin_of_text|>", "<|endoftext|>"],
    "pad": ["<pad>", "<|finetune_right_pad_id|>", "<|endoftext|>"],
}
"""What families call these; EOS stands in for the other two."""
TURNS = ["<start_of_turn>", "<end_of_turn>"]
"""Special tokens besides, which Gemma's chats are written in."""
SIZES = {"gemma2": 262_144, "qwen2": 151_646, "llama3": 128_256}
"""Tokens of each family. Gemma 2 has 256,000; what was measured before had Gemma 3's."""
LEARNED = {"gemma2": 20_000, "qwen2": 12_000, "llama3": 10_000}
"""How many of these are learned from text: other numbers cut it otherwise."""
TINY = {"gemma2": 600, "qwen2": 500, "llama3": 450}
FEW_TOKENS = 1000
"""A vocabulary below this is learned from a few documents, in less than a second."""
LETTERS = "etaoinshrdlucmfw"


def tokenizer(family: str, path: Path | None, *, tiny: bool) -> PreTrainedTokenizerFast:
    """The tokenizer of a family: that of a file or folder, or else one of its size, made here."""
    if path is not None:
        return loaded(path)
    size = TINY[family] if tiny else SIZES[family]
    return made(size, learned=size if tiny else LEARNED[family])


def loaded(path: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a folder or a file; of a tokenizer.json alone, roles go by usual names."""
    if path.is_dir() or path.suffix != ".json":
        return load_tokenizer(path).hf
    if (path.parent / "tokenizer_config.json").is_file():
        return load_tokenizer(path.parent).hf
    names = set(Tokenizer.from_file(str(path)).get_vocab())
    found = {
        role: next((name for name in usual if name in names), None) for role, usual in USUAL.items()
    }
    if found["eos"] is None:
        raise ValueError(
            f"{path} has none of the tokens {USUAL['eos']}, one of which would end a text. Give "
            "the folder that it is from, with a tokenizer_config.json."
        )
    return load_tokenizer(path, **{role: name or found["eos"] for role, name in found.items()}).hf


def made(num_tokens: int, *, learned: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of the Python manual, filled up with tokens that no text has.

    These have bytes and a place in every table, as the many rare tokens of a real vocabulary.
    """
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    names = [*SPECIALS.values(), *TURNS]
    trainer = trainers.BpeTrainer(
        vocab_size=learned,
        special_tokens=[AddedToken(n, special=True, normalized=False) for n in names],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_documents(tiny=num_tokens < FEW_TOKENS), trainer)
    backend.post_processor = processors.TemplateProcessing(
        single=f"{SPECIALS['bos']} $A",
        special_tokens=[(SPECIALS["bos"], list(SPECIALS).index("bos"))],
    )
    if backend.get_vocab_size() < num_tokens:
        backend = _filled_up(backend, num_tokens)
    roles = {f"{role}_token": name for role, name in SPECIALS.items()}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **roles)


def _filled_up(backend: Tokenizer, num_tokens: int) -> Tokenizer:
    content = json.loads(backend.to_str())
    vocab = content["model"]["vocab"]
    number = 0
    while len(vocab) < num_tokens:
        word, rest = "Ġ" if number % 2 else "", number + len(LETTERS)
        while rest:
            rest, letter = divmod(rest, len(LETTERS))
            word += LETTERS[letter]
        vocab.setdefault(word, len(vocab))
        number += 1
    return Tokenizer.from_str(json.dumps(content))


def _documents(*, tiny: bool) -> list[str]:
    found = (document.text for document in PythonManual().documents())
    return list(islice(found, 4) if tiny else found)


def texts(path: Path | None, *, tiny: bool) -> str:
    """Text to train on: that of a file, of all files of a folder, or the Python manual."""
    if path is None:
        return "\n\n".join(_documents(tiny=tiny))
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    return "\n\n".join(file.read_text("utf-8", errors="replace") for file in files)


def write_documents(text: str, target: Path, *, count: int, length: int) -> Path:
    """JSON lines of so many documents of one length, so that rows are as full as they can be."""
    if len(text) < length:
        text *= -(-length // max(len(text), 1))
    # an odd stride: where the text ends before the documents do, none is the same as another
    starts = [number * (length // 2 * 2 + 1) % (len(text) - length + 1) for number in range(count)]
    lines = (json.dumps({"text": text[start : start + length]}) for start in starts)
    target.write_text("\n".join(lines), "utf-8")
    return target
