"""Tiny real tokenizers and models, trained or made on the spot: no network, no GPU."""

import json
import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
# two threads of two test processes would wait for each other; read when torch is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

# Triton kernels run on the CPU, one program after another, where there is no card for them. Triton
# reads this when it is imported
os.environ.setdefault("TRITON_INTERPRET", str(int(not torch.cuda.is_available())))

import pytest
from tests.runs import REPOSITORY, run_apart, run_here, texts, tiny  # noqa: F401  (fixtures)
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from tokenizers.processors import TemplateProcessing
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedTokenizerFast

from alm_lightning.alignment.boundaries import Finest
from alm_lightning.app.hydra.model_groups import register_models
from alm_lightning.corpus.document import Document
from alm_lightning.data.collator import Collator
from alm_lightning.data.examples import Pairing
from alm_lightning.models.pair import Scorer
from alm_lightning.models.vocabulary import BytesFromOldTokens
from alm_lightning.tokenization.bytes.view import byte_view
from alm_lightning.tokenization.fast import view_of

# as train.py does
register_models(REPOSITORY / "conf")

# whatever the environment says
torch.set_num_threads(1)

SENTENCES = [
    "The quick brown fox jumps over the lazy dog.",
    "A statement is executed, and the value of the expression is discarded.",
    "def add(first, second):\n    return first + second\n",
    "Größe, café, naïve, Łódź; 日本語のテキスト and emoji 👩‍👩‍👧‍👦.",
    "In 2024 it cost 1,299.00 and in 1999 only 12.5.",
]
SPECIALS = ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"]


@pytest.fixture
def checked_annotations(request) -> None:
    """For a test of what annotations refuse: they are checked where pytest is told to."""
    if not request.config.getoption("jaxtyping_packages"):
        pytest.skip("annotations are not checked in this run: make test-types")


def _fast(backend: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
    )


def _specials() -> list[AddedToken]:
    return [AddedToken(content, special=True, normalized=False) for content in SPECIALS]


def _with_bos(backend: Tokenizer) -> Tokenizer:
    backend.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", backend.token_to_id("<bos>"))]
    )
    return backend


@pytest.fixture(scope="session")
def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE, as GPT-2, Llama 3 and Qwen have it."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=_specials(),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(SENTENCES, trainer)
    return _fast(_with_bos(backend))


@pytest.fixture(scope="session")
def metaspace_tokenizer() -> PreTrainedTokenizerFast:
    """SentencePiece-style BPE with byte fallback, as Gemma has it."""
    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    backend.normalizer = normalizers.Replace(" ", "\u2581")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    specials = [*_specials(), AddedToken("<unk>", special=True, normalized=False)]
    fallbacks = [AddedToken(f"<0x{byte:02X}>", normalized=False) for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=[*specials, *fallbacks], show_progress=False
    )
    backend.train_from_iterator([s for s in SENTENCES if s.isascii()], trainer)
    # fallback tokens are ordinary entries of the vocabulary: '<0x41>' in a text is six characters
    state = json.loads(backend.to_str())
    state["added_tokens"] = [t for t in state["added_tokens"] if not t["content"].startswith("<0x")]
    return _fast(_with_bos(Tokenizer.from_str(json.dumps(state))))


@pytest.fixture(scope="session")
def byte_level_view(byte_level_tokenizer):
    return view_of(byte_level_tokenizer, name="tiny byte-level")


@pytest.fixture(scope="session")
def metaspace_view(metaspace_tokenizer):
    return view_of(metaspace_tokenizer, name="tiny metaspace")


@pytest.fixture(scope="session")
def bytes_view():
    return byte_view()


@pytest.fixture(scope="session")
def views(byte_level_view, metaspace_view, bytes_view):
    return {"byte_level": byte_level_view, "metaspace": metaspace_view, "bytes": bytes_view}


def tiny_gemma3(vocab_size: int, **changes) -> Gemma3ForCausalLM:
    torch.manual_seed(0)
    settings = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "sliding_window": 64,
        "layer_types": ["sliding_attention", "full_attention"],
        "max_position_embeddings": 512,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": 2,
    }
    return Gemma3ForCausalLM(Gemma3TextConfig(**(settings | changes))).eval()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory, metaspace_tokenizer):
    """A folder as a hub model has it: a tiny Gemma 3 with its tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "tiny-gemma"
    tiny_gemma3(len(metaspace_tokenizer)).save_pretrained(folder)
    metaspace_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def scorers(metaspace_view):
    """A tiny byte student and its tiny Gemma 3 teacher, in float32, freshly made."""
    teacher = tiny_gemma3(metaspace_view.num_tokens)
    new = byte_view()
    student = BytesFromOldTokens(expansion=True, train_expansion=False, dtype=torch.float32)(
        teacher, old=metaspace_view, new=new
    )
    teacher.requires_grad_(False)
    return Scorer(student, new), Scorer(teacher, metaspace_view)


@pytest.fixture
def collator(scorers):
    student, teacher = scorers
    return Collator(student=student.view, teacher=teacher.view, micro_batch_size=4)


@pytest.fixture
def rows(scorers):
    """Windows of the inline sentences: some end a document, some do not."""
    student, teacher = scorers
    pairing = Pairing(
        student=student.view,
        teacher=teacher.view,
        alignment=Finest(),
        student_length=40,
        teacher_length=40,
    )
    documents = [Document(text, name=str(index)) for index, text in enumerate(SENTENCES)]
    return [window for document in documents for window in pairing.windows(document)]
