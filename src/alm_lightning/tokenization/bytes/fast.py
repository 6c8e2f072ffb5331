"""The byte tokenizer as a stock fast tokenizer, for folders that are read without this project.

Ids 0 to 255 are the bytes, special tokens follow from 256. It is the GPT-2 kind of tokenizer, which
writes each byte as a printable character, with no merge at all: so `AutoTokenizer` loads it without
running anybody's code. (BPE without merges takes 0.4 seconds for a megabyte, in linear time.)
"""

from collections.abc import Sequence

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from alm_lightning.tokenization.overrides import fast_tokenizer
from alm_lightning.tokenization.surface import byte_alphabet

NUM_BYTES = 256


def byte_tokenizer(
    special_tokens: Sequence[str], *, bos: str, eos: str, pad: str, add_bos: bool = True
) -> PreTrainedTokenizerFast:
    """A fast tokenizer whose content ids are the bytes of the text in UTF-8.

    Every Unicode text comes back unchanged. Bytes that are no UTF-8, such as half a character, are
    decoded to U+FFFD. A special token's name within a text is read as that token, as in any fast
    tokenizer: pass ``split_special_tokens=True`` where a text is nothing but content.

    Args:
        special_tokens: Their names, in the order of their ids from 256 on.
        bos: The one of them that begins a text.
        eos: The one that ends it.
        pad: The one that fills rows up, on the left, as generation wants it.
        add_bos: Whether encoding a text puts `bos` before it.

    Returns:
        The tokenizer; its folder loads with `AutoTokenizer.from_pretrained`.

    Raises:
        ValueError: A role has a name that is not among `special_tokens`, a name occurs twice or is
            a single character.

    Example:
        >>> tokenizer = byte_tokenizer(["<s>", "</s>", "<pad>"], bos="<s>", eos="</s>", pad="<pad>")
        >>> tokenizer("é").input_ids
        [256, 195, 169]
    """
    unknown = [name for name in (bos, eos, pad) if name not in special_tokens]
    if unknown:
        raise ValueError(
            f"{unknown} have a role but are not among the special tokens {list(special_tokens)}. "
            "Add them there: their place says which id they get."
        )
    if len(set(special_tokens)) < len(special_tokens) or min(map(len, special_tokens)) < 2:
        raise ValueError(
            f"special tokens must be distinct and longer than one character, not "
            f"{list(special_tokens)}: single characters are taken by the bytes. Rename them."
        )
    backend = Tokenizer(models.BPE(vocab=byte_alphabet(), merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(
        [AddedToken(name, special=True, normalized=False) for name in special_tokens]
    )
    if add_bos:
        backend.post_processor = processors.TemplateProcessing(
            single=[bos, "$A"],
            pair=[bos, "$A", f"{bos}:1", "$B:1"],
            special_tokens=[(bos, NUM_BYTES + list(special_tokens).index(bos))],
        )
    return fast_tokenizer(
        backend,
        bos_token=bos,
        eos_token=eos,
        pad_token=pad,
        extra_special_tokens=[name for name in special_tokens if name not in (bos, eos, pad)],
        model_input_names=["input_ids", "attention_mask"],
    )
