from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from alm_lightning.tokenization.fast import view_of


def bpe(*merges, add_prefix_space=False):
    """Byte-level BPE with these merges and no others, in GPT-2's alphabet."""
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
    rules = [tuple(merge.split(" ")) for merge in merges]
    pieces += ["".join(rule) for rule in rules]
    backend = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, rules))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=add_prefix_space, use_regex=False
    )
    backend.decoder = decoders.ByteLevel()
    return view_of(PreTrainedTokenizerFast(tokenizer_object=backend), name=f"bpe of {merges}")
