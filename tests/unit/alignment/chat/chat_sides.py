"""Small tokenizers of chat formats, and a naive reference for the chunks of a chat."""

import json
from functools import cache

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from alm_lightning.tokenization.bytes.view import byte_view
from alm_lightning.tokenization.fast import view_of

SPECIALS = {
    "chatml": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "gemma": ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"],
    "llama3": ["<bos>", "<eos>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    "mistral": ["<s>", "</s>", "[INST]", "[/INST]"],
}
BOS_EOS = {
    "chatml": {"eos_token": "<|im_end|>", "pad_token": "<|im_end|>"},
    "gemma": {"bos_token": "<bos>", "eos_token": "<eos>"},
    "llama3": {"bos_token": "<bos>", "eos_token": "<eos>"},
    "mistral": {"bos_token": "<s>", "eos_token": "</s>"},
}
KINDS = (*SPECIALS, "bytes")
TRIMS = ("gemma", "llama3")
TEXTS = [
    "user\nHello there, who are you?\n\nassistant\nI am a model.\n\nI help.\n",
    "model\n\nThe quick brown fox jumps over the lazy dog.\nuser\n\nSix.\n system\n",
    "Größe, café, naïve; 日本語のテキスト 👩‍👩‍👧‍👦. 1 + 2 is three.\n",
]
OPEN, SAY, CLOSE = range(3)


def backend_of(kind, *, regex):
    """A tokenizer of the format's family, without special tokens."""
    if kind not in ("gemma", "mistral"):
        backend = Tokenizer(models.BPE())
        # without the pattern there are tokens that span the end of a content and what follows
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)
        backend.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=400, initial_alphabet=alphabet, show_progress=False
        )
        backend.train_from_iterator(TEXTS * 2, trainer)
        return backend
    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    # Mistral's puts a dummy space at the start of a sequence, Gemma's nowhere
    scheme = "first" if kind == "mistral" else "never"
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    fallbacks = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=380, special_tokens=["<unk>", *fallbacks], show_progress=False
    )
    words = [f" {word}" for text in TEXTS for word in text.split() if word.isascii()]
    backend.train_from_iterator(words * 3, trainer)
    state = json.loads(backend.to_str())
    state["added_tokens"] = state["added_tokens"][:1]
    return Tokenizer.from_str(json.dumps(state))


@cache
def raw_of(kind, *, regex=True):
    """The tokenizer as a model is trained with it: special tokens are parsed in any text."""
    backend = backend_of(kind, regex=regex)
    backend.add_special_tokens([AddedToken(t, special=True) for t in SPECIALS[kind]])
    return backend


@cache
def view_for(kind, *, regex=True):
    if kind == "bytes":
        return byte_view()
    backend = Tokenizer.from_str(raw_of(kind, regex=regex).to_str())
    hf = PreTrainedTokenizerFast(tokenizer_object=backend, **BOS_EOS[kind])
    return view_of(hf, name=kind)


def written(kind, messages):
    """Texts of all steps of a chat: opens, says and closes each message, and a rest."""
    steps = []
    for number, (role, content) in enumerate(messages):
        is_first, is_user = number == 0, role == "user"
        named = role if kind != "gemma" else "user" if is_user else "model"
        bos = "" if not is_first else BOS_EOS.get(kind, {}).get("bos_token", "")
        steps += {
            "chatml": ["" if is_first else "\n", f"<|im_start|>{role}\n", content, "<|im_end|>"],
            "gemma": [
                bos or "\n",
                f"<start_of_turn>{named}\n",
                content,
                "<end_of_turn>",
            ],
            "llama3": [
                bos,
                f"<|start_header_id|>{role}<|end_header_id|>\n\n",
                content,
                "<|eot_id|>",
            ],
            "mistral": [
                bos,
                "[INST] " if is_user else " ",
                content,
                "[/INST]" if is_user else "</s>",
            ],
            "bytes": ["<bos>" if is_first else "", f"{role}\n", content, "<eos>"],
        }[kind]
    joined = []
    for start in range(0, len(steps), 4):
        joined += [steps[start] + steps[start + 1], *steps[start + 2 : start + 4]]
    return [*joined, "\n" if kind in ("chatml", "gemma") else ""]


class Walk:
    """One side's tokens laid on its rendering, one by one."""

    def __init__(self, kind, view, ids, messages):
        texts = [text.encode() for text in written(kind, messages)]
        names = {index: name for name, index in view.special_ids.items()}
        pieces = [names[i].encode() if i in names else view.token_bytes[i] for i in ids]
        assert b"".join(pieces) == b"".join(texts)
        bounds = [0]
        for text in texts:
            bounds.append(bounds[-1] + len(text))
        self.starts = [sum(map(len, pieces[:place])) for place in range(len(pieces))]
        self.stops = [s + len(piece) for s, piece in zip(self.starts, pieces, strict=True)]
        for step in range(SAY, len(texts), 3):
            # the space before a word is the word's where a token has both
            if texts[step - 1].endswith(b" "):
                spans = [
                    start == bounds[step] - 1 and stop > bounds[step]
                    for start, stop in zip(self.starts, self.stops, strict=True)
                ]
                bounds[step] -= any(spans)
        self.bounds, self.sizes = bounds, [len(text) for text in texts]
        self.touched = [
            [k for k in range(len(texts)) if max(bounds[k], a) < min(bounds[k + 1], b)]
            for a, b in zip(self.starts, self.stops, strict=True)
        ]
        self.mixed = [len(t) > 1 and any(k % 3 == SAY for k in t) for t in self.touched]

    def has(self, step):
        """Whether the side has a token of this step alone."""
        return any(touched == [step] for touched in self.touched)

    def ends(self, paired):
        """From step and place in it to the last token that ends there."""
        found = {}
        for token, (stop, touched) in enumerate(zip(self.stops, self.touched, strict=True)):
            step = touched[-1]
            if step % 3 == SAY:
                dummy = self.bounds[step + 1] - self.bounds[step] - self.sizes[step]
                found[step, stop - self.bounds[step] - dummy] = token
            elif step in paired and stop == self.bounds[step + 1] and not self.mixed[token]:
                found[step, 1] = token
        return found


def reference(walks, messages, trained_steps):
    """Content range, flag and token lists of each chunk, from one common end to the next."""
    num_steps = 3 * len(messages) + 1
    paired = [k for k in range(num_steps) if k % 3 != SAY and all(walk.has(k) for walk in walks)]
    widths = [1 if k in paired else 0 for k in range(num_steps)]
    for number, (_, content) in enumerate(messages):
        widths[3 * number + SAY] = len(content.encode())
    axis = [(k, p) for k in range(num_steps) for p in range(1, widths[k] + 1)]
    ends = [walk.ends(paired) for walk in walks]
    common = [key for key in axis if all(key in side for side in ends)]
    chunks, place, before = [], 0, [-1, -1]
    for key in common:
        upto = axis.index(key) + 1
        covered = axis[place:upto]
        lists, fine = [], True
        for walk, side, last in zip(walks, ends, before, strict=True):
            tokens = list(range(last + 1, side[key] + 1))
            loose = [
                t for t in tokens if all(k % 3 != SAY and k not in paired for k in walk.touched[t])
            ]
            kept = [t for t in tokens if t not in loose]
            fine &= not any(walk.mixed[t] for t in kept) and not any(t > kept[0] for t in loose)
            lists.append(kept)
        structural = [k in paired for k, _ in covered]
        fine &= all(structural) or not any(structural)
        first = sum(k % 3 == SAY for k, _ in axis[:place])
        size = sum(k % 3 == SAY for k, _ in covered)
        is_trained = all(k in trained_steps for k, _ in covered)
        is_trained &= not any(0 in tokens for tokens in lists)
        if fine:
            chunks.append((first, first + size, is_trained, *lists))
        place, before = upto, [side[key] for side in ends]
    return chunks
