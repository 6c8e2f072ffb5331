"""Tiny models with tokenizers made on the spot: what ``--quick`` runs on."""

from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from alm_lightning.corpus.sources.interpreter import PythonManual

SPECIALS = {"pad": "<pad>", "eos": "<eos>", "bos": "<bos>"}
"""Names of special tokens by role, in the order of their ids."""
DOCUMENTS = 4
"""Of the Python manual, which is enough for a tokenizer of some hundred tokens."""


def tokenizer(num_tokens: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of the Python manual, with BOS, EOS and pad."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=num_tokens,
        special_tokens=[AddedToken(n, special=True, normalized=False) for n in SPECIALS.values()],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [document.text for document in PythonManual().documents()][:DOCUMENTS]
    backend.train_from_iterator(texts, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single=f"{SPECIALS['bos']} $A",
        special_tokens=[(SPECIALS["bos"], list(SPECIALS).index("bos"))],
    )
    names = {f"{role}_token": name for role, name in SPECIALS.items()}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def llama_folder(folder: Path) -> Path:
    """A folder as a model of the hub has it: a Llama of two layers, random weights."""
    own = tokenizer(400)
    config = LlamaConfig(
        vocab_size=len(own),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        **{f"{role}_token_id": number for number, role in enumerate(SPECIALS)},
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    own.save_pretrained(folder)
    return folder
