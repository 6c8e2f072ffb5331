"""Low-rank adapters: what is trained, what stays, and what the weights are in the end."""

import copy
import logging

import pytest
import torch
from tests.conftest import SENTENCES, tiny_gemma3
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MixtralConfig

from alm_lightning.alignment.boundaries import Finest
from alm_lightning.corpus.document import Document
from alm_lightning.data.collator import Collator
from alm_lightning.data.examples import Pairing
from alm_lightning.models.adapters import (
    FullFineTuning,
    LowRank,
    merged_weights,
    saved_weights,
)
from alm_lightning.models.embeddings.fvt import FastVocabularyTransfer
from alm_lightning.models.pair import Scorer
from alm_lightning.models.structure import last_matrix
from alm_lightning.models.vocabulary import BytesFromOldTokens, NewVocabulary
from alm_lightning.tokenization.bytes.view import byte_view

LORA = LowRank(rank=4, alpha=8, share_body=True, train_embeddings=True)


def llama(vocab_size):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=False,
    )
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


@pytest.fixture(params=[tiny_gemma3, llama])
def teacher_model(request, byte_level_view):
    return request.param(byte_level_view.num_tokens)


def student_of(model, old, new, adapter=LORA):
    vocabulary = NewVocabulary(FastVocabularyTransfer(), torch.float32)
    student = vocabulary(model, old=old, new=new, share_body=adapter.share_body)
    adapter.adapt(student)
    return student


@pytest.fixture
def student(teacher_model, byte_level_view, metaspace_view):
    return student_of(teacher_model, byte_level_view, metaspace_view)


@pytest.fixture
def batch(byte_level_view, metaspace_view):
    pairing = Pairing(
        student=metaspace_view,
        teacher=byte_level_view,
        alignment=Finest(),
        student_length=60,
        teacher_length=60,
    )
    windows = [w for text in SENTENCES[:2] for w in pairing.windows(Document(text, name="x"))]
    collator = Collator(student=metaspace_view, teacher=byte_level_view, micro_batch_size=4)
    return collator.batch(windows)


def train(model, ids, steps=3):
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.03)
    for _ in range(steps):
        optimizer.zero_grad()
        model(ids, labels=ids).loss.backward()
        optimizer.step()


def test_at_first_adapters_add_nothing(teacher_model, student, byte_level_view, metaspace_view):
    bare = NewVocabulary(FastVocabularyTransfer(), torch.float32)(
        teacher_model, old=byte_level_view, new=metaspace_view
    )
    ids = torch.arange(5, 35)[None]
    assert torch.equal(student(ids).logits, bare(ids).logits)


def test_what_is_trained(student):
    """Both factors on every linear layer of the blocks, the embeddings, and nothing else."""
    trained = {name for name, p in student.named_parameters() if p.requires_grad}
    projections = [
        *(f"self_attn.{name}_proj" for name in "qkvo"),
        *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
    ]
    expected = {
        f"model.layers.{layer}.{name}.lora_{factor}.default.weight"
        for layer in (0, 1)
        for name in projections
        for factor in "AB"
    }
    matrices = {"model.embed_tokens.weight"}
    if not student.config.tie_word_embeddings:
        matrices.add("lm_head.weight")
    assert trained == expected | matrices

    ids = torch.arange(5, 35)[None]
    student(ids, labels=ids).loss.backward()
    reached = {n for n, p in student.named_parameters() if p.grad is not None and p.grad.any()}
    # the first factor's gradient is zero as long as the second one is
    assert reached == {name for name in trained if ".lora_A." not in name}


def test_losses_are_compared_at_a_matrix_with_a_gradient(student):
    matrix = last_matrix(student)
    assert matrix is student.model.layers[1].mlp.down_proj.lora_B["default"].weight
    ids = torch.arange(5, 35)[None]
    student(ids, labels=ids).loss.backward()
    assert matrix.grad.norm() > 1e-5


def test_the_teacher_says_what_it_said(teacher_model, byte_level_view, metaspace_view, batch):
    """Bit by bit, whatever the student learns: no adapter, no new embedding."""
    original = copy.deepcopy(teacher_model)
    student = student_of(teacher_model, byte_level_view, metaspace_view)
    scorer = Scorer(teacher_model, byte_level_view)
    pupil = Scorer(student, metaspace_view)
    expected = Scorer(original, byte_level_view)(batch, batch.teacher, keep_hidden=True)
    before = pupil(batch, batch.student, keep_hidden=True)
    train(student, batch.student.ids)
    for side in (
        scorer(batch, batch.teacher, keep_hidden=True),
        scorer(batch, batch.teacher, keep_hidden=True),
    ):
        for name in ("token_logprobs", "chunk_logprobs", "boundary_logprobs", "hidden"):
            assert torch.equal(getattr(side, name), getattr(expected, name))
    # and what changed the student is not only its embeddings
    after = pupil(batch, batch.student, keep_hidden=True)
    assert not torch.allclose(after.hidden, before.hidden, atol=1e-3)
    assert not teacher_model.training
    assert student.training


def test_freezing_the_teacher_freezes_no_adapter(teacher_model, student):
    teacher_model.requires_grad_(False).eval()
    assert last_matrix(student).requires_grad
    assert student.get_input_embeddings().weight.requires_grad


def test_merged_weights_are_a_plain_model_that_computes_the_same(teacher_model, student):
    ids = torch.arange(5, 35)[None]
    train(student, ids)
    before = copy.deepcopy(student.state_dict())
    merged = dict(merged_weights(student, torch.float32))
    # no adapter's, no wrapper's names
    assert merged.keys() == teacher_model.state_dict().keys()
    plain = AutoModelForCausalLM.from_config(student.config, dtype=torch.float32).eval()
    plain.load_state_dict(merged)
    student.eval()
    torch.testing.assert_close(plain(ids).logits, student(ids).logits, rtol=0, atol=1e-4)
    # what is merged is not what was there: a test of weights that did not change would say nothing
    name = "model.layers.1.mlp.down_proj.weight"
    assert not torch.allclose(merged[name], teacher_model.state_dict()[name], atol=1e-3)
    for key, tensor in student.state_dict().items():
        assert torch.equal(tensor, before[key])


def test_merging_rounds_once(byte_level_view, metaspace_view):
    """The sum is made in float32, then rounded, though the frozen weights are in bfloat16."""
    model = tiny_gemma3(byte_level_view.num_tokens).bfloat16()
    student = student_of(model, byte_level_view, metaspace_view)
    layer = student.model.layers[0].mlp.up_proj
    layer.lora_B["default"].weight.data.normal_(std=1e-2)
    factors = (layer.lora_B["default"].weight, layer.lora_A["default"].weight)
    expected = layer.base_layer.weight.float() + (factors[0] @ factors[1]) * 2.0
    merged = dict(merged_weights(student, torch.float32))["model.layers.0.mlp.up_proj.weight"]
    torch.testing.assert_close(merged, expected.detach(), rtol=0, atol=1e-7)


def test_frozen_weights_in_bfloat16(byte_level_view, metaspace_view, batch):
    """As on GPUs: what is trained is in float32, and autocast computes with both."""
    model = tiny_gemma3(byte_level_view.num_tokens).bfloat16()
    student = student_of(model, byte_level_view, metaspace_view)
    trained = [p for p in student.parameters() if p.requires_grad]
    assert {p.dtype for p in trained} == {torch.float32}
    scorer = Scorer(student, metaspace_view)
    with torch.autocast("cpu", torch.bfloat16):
        side = scorer(batch, batch.student)
    (-side.token_logprobs.sum()).backward()
    assert torch.isfinite(side.token_logprobs).all()
    assert last_matrix(student).grad.any()
    assert {p.grad.dtype for p in trained} == {torch.float32}


def test_adapters_on_a_copy(teacher_model, byte_level_view, metaspace_view):
    adapter = LowRank(rank=4, alpha=8, share_body=False, train_embeddings=True)
    student = student_of(teacher_model, byte_level_view, metaspace_view, adapter)
    theirs = {p.untyped_storage().data_ptr() for p in teacher_model.parameters()}
    assert not any(p.untyped_storage().data_ptr() in theirs for p in student.parameters())
    assert not student.model.layers[0].mlp.up_proj.base_layer.weight.requires_grad


def test_full_fine_tuning_changes_nothing(teacher_model, byte_level_view, metaspace_view):
    student = student_of(teacher_model, byte_level_view, metaspace_view, FullFineTuning())
    assert all(p.requires_grad for p in student.parameters())
    assert dict(merged_weights(student, torch.float32)).keys() == student.state_dict().keys()


def test_what_has_no_linear_layers_is_refused():
    config = GPT2Config(vocab_size=20, n_embd=8, n_layer=2, n_head=2)
    with pytest.raises(ValueError, match=r"GPT2LMHeadModel have no linear layers.*adapter=full"):
        LORA.adapt(AutoModelForCausalLM.from_config(config))


def test_experts_that_get_no_adapters_are_told(teacher_model, caplog):
    caplog.set_level(logging.WARNING, logger="alm_lightning")
    LORA.adapt(teacher_model)
    assert not caplog.records
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_local_experts": 4}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "num_hidden_layers": 1}
    LORA.adapt(AutoModelForCausalLM.from_config(MixtralConfig(vocab_size=20, **sizes, **heads)))
    assert "MixtralForCausalLM are in no linear layer, such as 0.mlp.experts" in caplog.text


@pytest.mark.parametrize(("rank", "alpha"), [(0, 8), (4, 0), (4, float("nan"))])
def test_settings_that_learn_nothing(rank, alpha):
    with pytest.raises(ValueError, match=r"rank is .* expected a rank of 1 or more"):
        LowRank(rank=rank, alpha=alpha, share_body=True, train_embeddings=True)


def test_old_embeddings_of_a_byte_student_that_are_trained_along(metaspace_view):
    """Beside adapters too; and what they learned is in the weights that are written."""
    adapter = LowRank(rank=4, alpha=8, share_body=False, train_embeddings=True)
    model = tiny_gemma3(metaspace_view.num_tokens)
    ids = torch.tensor([[256, *b"The quick brown fox", 257]])
    for trains in (True, False):
        make = BytesFromOldTokens(expansion=True, train_expansion=trains, dtype=torch.float32)
        student = make(model, old=metaspace_view, new=byte_view())
        adapter.adapt(student)
        table = student.model.expansion.embedding.weight
        assert table.requires_grad == trains
        before = table.detach().clone()
        train(student, ids)
        assert torch.equal(table, before) != trains
        written = saved_weights(student, torch.float32)["model.expansion.embedding.weight"]
        assert torch.equal(written, table)
    bare = BytesFromOldTokens(expansion=False, train_expansion=True, dtype=torch.float32)
    adapter.adapt(bare(model, old=metaspace_view, new=byte_view()))
