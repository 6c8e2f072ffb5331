"""Students of the same architecture over another vocabulary: against the old model itself."""

import copy

import pytest
import torch
from tests.conftest import tiny_gemma3
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GenerationConfig,
    GPTNeoXConfig,
    GraniteConfig,
    LlamaConfig,
    PhiConfig,
    Qwen2Config,
)

from alm_lightning.models.generation import check_usable
from alm_lightning.models.transfer import check_transferable, is_tied, transferred

SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GEMMA = {**SIZES, "head_dim": 8, "sliding_window": 4}
NEO_X = {name: value for name, value in SIZES.items() if name != "num_key_value_heads"}
FAMILIES = {
    "gemma3": Gemma3TextConfig(**GEMMA),
    "gemma2": Gemma2Config(**GEMMA, final_logit_softcapping=0.5),
    "llama, untied": LlamaConfig(**SIZES, tie_word_embeddings=False),
    "qwen2, tied": Qwen2Config(**SIZES, tie_word_embeddings=True),
    "phi, with an output bias": PhiConfig(**SIZES, tie_word_embeddings=False),
    "gpt_neox, other names": GPTNeoXConfig(**NEO_X, tie_word_embeddings=False),
}
OLD_IDS = torch.tensor([7, 2, 1, 0, *range(49, 9, -1)])
"""The old id of each new one: fewer, and in another order."""
ROLES = {"bos": 2, "eos": 1, "pad": 3}


def model_of(config, dtype=torch.float32):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def moved(model, **changes):
    """`model` over the ids `OLD_IDS`."""
    head = model.get_output_embeddings()
    settings = {
        "input_rows": model.get_input_embeddings().weight.detach().float()[OLD_IDS],
        "head_rows": None if is_tied(model) else head.weight.detach().float()[OLD_IDS],
        "head_bias": None if head.bias is None else head.bias.detach().float()[OLD_IDS],
        "roles": ROLES,
        "content_ids": frozenset({0, *range(4, len(OLD_IDS))}),
        "dtype": torch.float32,
        "share_body": False,
    }
    return transferred(model, **(settings | changes))


def body_of(model):
    matrices = (model.get_input_embeddings(), model.get_output_embeddings())
    ours = {id(p) for matrix in matrices for p in matrix.parameters()}
    return {n: p for n, p in model.named_parameters() if id(p) not in ours}


@pytest.mark.parametrize("share_body", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_student_is_the_old_model_with_other_ids(family, share_body):
    old = model_of(FAMILIES[family])
    student = moved(old, share_body=share_body)
    assert type(student) is type(old)
    assert student.training
    ids = torch.randint(len(OLD_IDS), (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = old(OLD_IDS[ids]).logits[..., OLD_IDS]
        torch.testing.assert_close(student.eval()(ids).logits, expected, rtol=0, atol=1e-5)
    assert is_tied(student) == is_tied(old)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shared_body_is_the_same_parameters_and_a_copied_one_has_none(family):
    old = model_of(FAMILIES[family])
    copied = moved(old)
    storages = {p.untyped_storage().data_ptr() for p in old.parameters()}
    assert not any(p.untyped_storage().data_ptr() in storages for p in copied.parameters())
    assert all(p.requires_grad for p in copied.parameters())

    shared = moved(old, share_body=True)
    theirs = dict(old.named_parameters())
    assert body_of(shared)
    for name, parameter in body_of(shared).items():
        assert parameter is theirs[name]
        assert not parameter.requires_grad
    for matrix in (shared.get_input_embeddings(), shared.get_output_embeddings()):
        assert all(p.requires_grad for p in matrix.parameters())
    # the modules are each model's own, so that what is added to the student's is not the teacher's
    assert not {id(m) for m in shared.modules()} & {id(m) for m in old.modules()}


@pytest.mark.parametrize("share_body", [False, True])
def test_the_old_model_stays_as_it_was(share_body):
    old = model_of(FAMILIES["gemma3"])
    old.generation_config.suppress_tokens = [5]
    config, generation = old.config.to_dict(), old.generation_config.to_dict()
    weights = copy.deepcopy(old.state_dict())
    student = moved(old, share_body=share_body)
    for parameter in student.parameters():
        if parameter.requires_grad:
            parameter.data += 1.0
    assert old.config.to_dict() == config
    assert old.generation_config.to_dict() == generation
    assert not old.training
    assert all(torch.equal(tensor, weights[name]) for name, tensor in old.state_dict().items())


def test_a_copy_of_a_rounded_model_computes_with_unrounded_scales():
    rounded = model_of(FAMILIES["gemma3"], dtype=torch.bfloat16)
    exact = model_of(FAMILIES["gemma3"])
    student = moved(rounded)
    assert {p.dtype for p in student.parameters()} == {torch.float32}
    buffers = dict(exact.named_buffers())
    assert buffers
    for name, buffer in student.named_buffers():
        assert torch.equal(buffer, buffers[name])

    shared = moved(rounded, share_body=True)
    assert {p.dtype for p in body_of(shared).values()} == {torch.bfloat16}
    assert shared.get_input_embeddings().weight.dtype == torch.float32


@pytest.mark.parametrize("pad", [1, 2, 4])
def test_no_row_that_is_used_is_frozen_as_padding(pad):
    """The pad token may be EOS, BOS, or a token of text."""
    old = model_of(FAMILIES["llama, untied"])
    student = moved(old, roles=ROLES | {"pad": pad})
    assert student.config.pad_token_id is None
    assert student.generation_config.pad_token_id == pad
    student(torch.tensor([[pad, 6, 7]]), labels=torch.tensor([[6, 7, 8]])).loss.backward()
    assert student.get_input_embeddings().weight.grad[pad].any()


def test_ids_of_the_new_vocabulary():
    old = model_of(FAMILIES["gemma3"])
    old.generation_config.eos_token_id = [2, 40]
    old.generation_config.suppress_tokens = [45]
    old.config.unk_token_id = 48
    student = moved(old)
    assert student.config.unk_token_id is None
    assert old.config.unk_token_id == 48
    for config in (student.config, student.generation_config):
        assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (2, 1, 3)
    assert student.config.vocab_size == len(OLD_IDS)
    assert student.generation_config.suppress_tokens is None
    missing = moved(old, roles={"eos": 1})
    assert (missing.config.bos_token_id, missing.config.pad_token_id) == (None, None)


@pytest.mark.parametrize("says", [True, False])
def test_the_configuration_says_whether_the_matrices_are_one(says):
    """Some checkpoints say the opposite of what they hold; an export goes by what is said."""
    old = model_of(LlamaConfig(**SIZES, tie_word_embeddings=not says))
    old.config.tie_word_embeddings = says
    assert is_tied(old) != says
    student = moved(old)
    assert student.config.tie_word_embeddings == is_tied(student) == is_tied(old)
    assert set(student.all_tied_weights_keys) == ({"lm_head.weight"} if not says else set())
    assert old.config.tie_word_embeddings == says


def test_no_matrix_of_the_old_vocabulary_is_copied(monkeypatch):
    old = model_of(FAMILIES["llama, untied"])
    sizes = []
    clone = torch.Tensor.clone
    monkeypatch.setattr(
        torch.Tensor, "clone", lambda t, **settings: sizes.append(t.shape) or clone(t, **settings)
    )
    moved(old, share_body=True)
    assert not [size for size in sizes if old.config.vocab_size in size]


def test_moving_one_moves_the_shared_body_once():
    """As Lightning and the scorer of the teacher do: parameters stay shared."""
    old = model_of(FAMILIES["llama, untied"])
    student = moved(old, share_body=True)
    student.double()
    theirs = dict(old.named_parameters())
    assert all(p is theirs[n] and p.dtype == torch.float64 for n, p in body_of(student).items())
    assert old.get_input_embeddings().weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        (GraniteConfig(**SIZES, logits_scaling=8.0), "logits_scaling"),
        (CohereConfig(**SIZES, logit_scale=0.25), "logit_scale"),
    ],
)
def test_scaled_logits_are_refused(config, scale):
    with pytest.raises(ValueError, match=rf"scales its logits \({scale}\).*Choose a family"):
        check_transferable(model_of(config))


def test_other_kinds_of_models_are_refused():
    model = tiny_gemma3(50)
    model.config.vocab_size_per_layer_input = 50
    with pytest.raises(ValueError, match="embeddings of its tokens at every layer"):
        check_transferable(model)

    model = tiny_gemma3(50)
    inner = copy.deepcopy(model.config)
    model.config.get_text_config = lambda *args, **kwargs: inner
    with pytest.raises(ValueError, match="parts besides a language model"):
        check_transferable(model)

    model = tiny_gemma3(50)
    model.lm_head = torch.nn.Sequential()
    with pytest.raises(ValueError, match=r"has a Sequential where .* a linear output head"):
        check_transferable(model)

    model = tiny_gemma3(50)
    model.model.layers[0].extra = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"other weights.*layers\.0\.extra.*without adapters"):
        moved(model, head_rows=None)


IDLE = {"temperature": 0.9, "top_p": 0.6, "top_k": 20, "min_p": 0.1, "length_penalty": 0.8}
"""Settings as models are published with, which count only in sampling or with several beams."""


def test_settings_of_generation_without_effect_are_not_kept(tmp_path, caplog):
    """transformers warns of them where it reads them, and would not write them again."""
    old = model_of(FAMILIES["llama, untied"])
    for name, value in (IDLE | {"repetition_penalty": 1.1, "output_scores": True}).items():
        setattr(old.generation_config, name, value)
    before = old.generation_config.to_dict()
    kept = moved(old).generation_config
    kept.save_pretrained(tmp_path)
    assert all(getattr(kept, name) is None for name in (*IDLE, "output_scores"))
    assert kept.repetition_penalty == 1.1
    assert old.generation_config.to_dict() == before
    assert "not kept: temperature=0.9" in caplog.text
    assert "length_penalty=0.8" in caplog.text


def test_settings_of_generation_with_an_effect_are_kept(tmp_path, caplog):
    old = model_of(FAMILIES["llama, untied"])
    for name, value in (IDLE | {"do_sample": True, "num_beams": 2}).items():
        setattr(old.generation_config, name, value)
    kept = moved(old).generation_config
    kept.save_pretrained(tmp_path)
    assert {name: getattr(kept, name) for name in IDLE} == IDLE
    assert "not kept" not in caplog.text


def test_settings_that_could_not_be_written_are_refused():
    settings = GenerationConfig()
    check_usable(settings, "mine")
    settings.num_return_sequences = 2
    with pytest.raises(
        ValueError, match=r"(?s)settings of mine, which .*Correct generation_config"
    ):
        check_usable(settings, "mine")
