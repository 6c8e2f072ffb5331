"""Small tokenizers of unusual make, trained on the spot."""

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from alm_lightning.tokenization.fast import view_of
from alm_lightning.tokenization.view import TokenizerView

CORPUS = ["hello world the cat sat on the mat, it's 12345", "café Việt Nam word words"] * 3
SPECIALS = [AddedToken(name, special=True, normalized=False) for name in ("<bos>", "<eos>")]


def byte_level(**model: object) -> Tokenizer:
    backend = Tokenizer(models.BPE(**model))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=320,
            special_tokens=SPECIALS,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return backend


def words(model: str, pre_tokenizer: pre_tokenizers.PreTokenizer) -> Tokenizer:
    """WordPiece, BPE with ``</w>``, or BPE of characters without a decoder."""
    options = {"special_tokens": ["[UNK]", *SPECIALS], "vocab_size": 200, "show_progress": False}
    if model == "wordpiece":
        backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        backend.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(**options)
    elif model == "end_of_word":
        backend = Tokenizer(models.BPE(unk_token="[UNK]", end_of_word_suffix="</w>"))
        backend.decoder = decoders.BPEDecoder()
        trainer = trainers.BpeTrainer(end_of_word_suffix="</w>", **options)
    else:
        backend = Tokenizer(models.BPE(unk_token="[UNK]"))
        trainer = trainers.BpeTrainer(**options)
    backend.pre_tokenizer = pre_tokenizer
    backend.train_from_iterator(CORPUS, trainer)
    return backend


def view(backend: Tokenizer) -> TokenizerView:
    hf = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>")
    return view_of(hf, name="small")
