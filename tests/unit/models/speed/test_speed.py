"""What the settings of speed do to models: the same numbers, in another way."""

import logging
from functools import partial

import pytest
import torch
from tests.conftest import tiny_gemma3
from tests.invariant.test_step import make_step
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.exc import BackendCompilerFailed
from torch._dynamo.utils import counters
from torch._functorch.compilers import nop
from transformers import Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel

from alm_lightning.data.collator import Collator
from alm_lightning.models.adapters import LowRank
from alm_lightning.models.own_vocabulary import OwnVocabulary
from alm_lightning.models.pair import Scorer
from alm_lightning.models.speed import Speed
from alm_lightning.models.speed.attention import attention_for, set_attention
from alm_lightning.models.speed.compiled import uncompile_blocks
from alm_lightning.models.speed.kernels import check_liger
from alm_lightning.models.structure import layers_of
from alm_lightning.objectives.combine import GradMag


def tiny_gemma2():
    torch.manual_seed(0)
    return Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=400,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            query_pre_attn_scalar=16,
            sliding_window=16,
            attn_implementation="eager",
        )
    )


def tiny_gpt2():
    return GPT2LMHeadModel(GPT2Config(vocab_size=400, n_embd=32, n_layer=2, n_head=2))


def lora_scorers(scorers):
    """A student with adapters that keeps its tokenizer, and the teacher that it started as."""
    _, teacher = scorers
    student = OwnVocabulary(dtype=torch.float32)(
        teacher.model, old=teacher.view, new=teacher.view, share_body=True
    )
    torch.manual_seed(1)
    LowRank(rank=4, alpha=4, share_body=True, train_embeddings=False).adapt(student)
    for name, parameter in student.named_parameters():
        if "lora_B" in name:
            # at 0, as they start, nothing of the rest would have a gradient
            torch.nn.init.normal_(parameter, std=0.02)
    return Scorer(student.train(), teacher.view), teacher


def gradients(pair, rows, micro_batch_size):
    student, teacher = pair
    collator = Collator(
        student=student.view, teacher=teacher.view, micro_batch_size=micro_batch_size
    )
    student.model.train().zero_grad()
    result = make_step(pair, GradMag())(collator(rows))
    found = {n: p.grad.clone() for n, p in student.model.named_parameters() if p.requires_grad}
    return result, found


@pytest.fixture(params=["bytes", "lora"])
def pair(request, scorers):
    return scorers if request.param == "bytes" else lora_scorers(scorers)


@pytest.mark.parametrize("micro_batch_size", [3, 100])
def test_checkpointing_changes_nothing(pair, rows, micro_batch_size):
    plain, expected = gradients(pair, rows, micro_batch_size)
    counts = count_blocks(pair[0].model)
    Speed(checkpointing=True).apply(pair[0].model, pair[1].model)
    result, found = gradients(pair, rows, micro_batch_size)
    assert counts[0] > 0
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-7)
    for name, loss in plain.losses.items():
        torch.testing.assert_close(result.losses[name], loss, rtol=1e-5, atol=0.0)


def count_blocks(model):
    """How often the first block's MLP runs, from now on."""
    counts = [0]

    def note(*_):
        counts[0] += 1

    layers_of(model)[0].mlp.register_forward_hook(note)
    return counts


def test_checkpointing_computes_blocks_again(scorers, rows):
    counts = count_blocks(scorers[0].model)
    gradients(scorers, rows, 100)
    once = counts[0]
    Speed(checkpointing=True).apply(scorers[0].model, scorers[1].model)
    gradients(scorers, rows, 100)
    assert (once, counts[0]) == (1, 3)


# the compiler's own calls of what torch has deprecated
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning:torch")
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_blocks_change_nothing(pair, rows, backend, monkeypatch):
    """With adapters, too; the step goes back through the last block twice."""
    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    plain, expected = gradients(pair, rows, 100)
    Speed(compile=True, checkpointing=True).apply(pair[0].model, pair[1].model)
    counters.clear()
    result, found = gradients(pair, rows, 100)
    # of student and teacher
    assert counters["frames"]["ok"] >= 2
    assert counters["frames"]["ok"] == counters["frames"]["total"]
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=2e-3, atol=2e-6)
    for name, loss in plain.losses.items():
        torch.testing.assert_close(result.losses[name], loss, rtol=1e-4, atol=0.0)


# the compiler's own calls of what torch has deprecated
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning:torch")
def test_training_is_compiled_after_an_evaluation_of_many_lengths(scorers, rows, monkeypatch):
    """All blocks count as one function, which may be compiled in so many ways by default."""
    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    student, teacher = scorers
    Speed(compile=True, checkpointing=True).apply(student.model, teacher.model)
    for model in (student.model.eval(), teacher.model):
        for shape in ((1, 7), (2, 9), (3, 12), (3, 5)):
            with torch.no_grad():
                model(torch.full(shape, 3))
    counters.clear()
    gradients(scorers, rows, 100)
    assert counters["frames"]["ok"] >= 1
    assert counters["frames"]["ok"] == counters["frames"]["total"]


# the compiler's own calls of what torch has deprecated
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning:torch")
def test_a_backward_pass_that_can_not_be_compiled_falls_back(scorers, rows, monkeypatch, caplog):
    torch.compiler.reset()

    def refuse(*_):
        raise RuntimeError("no backward pass is here")

    backend = aot_autograd(fw_compiler=nop, bw_compiler=refuse)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    _, expected = gradients(scorers, rows, 100)
    Speed(compile=True).apply(scorers[0].model, scorers[1].model)
    with caplog.at_level(logging.WARNING):
        _, found = gradients(scorers, rows, 100)
    assert any("no backward pass is here" in message for message in caplog.messages)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=2e-3, atol=1e-6)


def test_a_compile_that_fails_falls_back_with_one_warning(scorers, rows, monkeypatch, caplog):
    _, expected = gradients(scorers, rows, 100)

    def refuse(forward):
        def run(*_, **__):
            raise BackendCompilerFailed(refuse, RuntimeError("no compiler is here"), None)

        return run

    monkeypatch.setattr(torch, "compile", refuse)
    student, _ = scorers
    Speed(compile=True).apply(student.model, scorers[1].model)
    with caplog.at_level(logging.WARNING):
        _, found = gradients(scorers, rows, 3)
    own = [m for m in caplog.messages if "can't be compiled" in m]
    # one for each model, whatever the number of its blocks and micro-batches
    assert len(own) == 2
    assert all("no compiler is here" in message for message in own)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=2e-3, atol=1e-6)
    uncompile_blocks(student.model)
    assert not any("forward" in vars(layer) for layer in layers_of(student.model))


def test_other_errors_of_a_block_are_not_swallowed(scorers, rows, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda forward: forward)
    student, teacher = scorers
    Speed(compile=True).apply(student.model, teacher.model)

    def fail(*_):
        raise RuntimeError("a bug")

    layers_of(student.model)[0].mlp.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="a bug"):
        gradients(scorers, rows, 100)


def test_a_cached_text_is_not_compiled(scorers, monkeypatch):
    calls = []
    monkeypatch.setattr(torch, "compile", lambda forward: lambda *a, **k: calls.append(1))
    student, teacher = scorers
    ids = torch.tensor([[256, 72, 105]])
    expected = student.model.eval().generate(ids, max_new_tokens=4, do_sample=False)
    Speed(compile=True).apply(student.model, teacher.model)
    found = student.model.generate(ids, max_new_tokens=4, do_sample=False)
    assert torch.equal(found, expected)
    assert not calls


@pytest.mark.parametrize(
    ("make", "cuda", "chosen"),
    [
        (tiny_gemma2, False, "eager"),
        (tiny_gemma2, True, "flex_attention"),
        (lambda: tiny_gemma3(400), True, "sdpa"),
        (lambda: tiny_gemma3(400), False, "sdpa"),
        (tiny_gpt2, True, "sdpa"),
    ],
)
def test_attention_by_what_the_family_computes(monkeypatch, make, cuda, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert attention_for(make(), "auto", "auto") == chosen


def test_flex_attention_without_mixed_precision_is_not_chosen(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("alm_lightning.models.speed.attention.flex_operator.py_kernels", {})
    assert attention_for(tiny_gemma2(), "auto", "auto") == "eager"
    assert "does not work in mixed precision" in caplog.text


def test_attention_of_a_byte_student_is_its_bodys(scorers, monkeypatch):
    student, _ = scorers
    assert attention_for(student.model, "auto", "cpu") == "sdpa"
    ids = torch.tensor([[256, 72, 105, 33]])
    with torch.no_grad():
        before = student.model(ids).logits
        Speed(attention="eager").apply_loaded(student.model, "cpu")
        after = student.model(ids).logits
    assert student.model.model.body.config._attn_implementation == "eager"
    torch.testing.assert_close(after, before)


def test_attention_that_a_family_does_not_have():
    with pytest.raises(ValueError, match=r"speed.attention is sdpa, which Gemma2ForCausalLM"):
        set_attention(tiny_gemma2(), "sdpa")
    with pytest.raises(ValueError, match=r"speed.attention is flex_attention, which GPT2LMHead"):
        set_attention(tiny_gpt2(), "flex_attention")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"attention": "fast"}, "speed.attention is 'fast': expected auto, null .* eager"),
        ({"attention": "flex_attention"}, "flex_attention, which has a backward pass on CUDA"),
        ({"liger": True}, "speed.liger is true, but its kernels are for CUDA"),
    ],
)
def test_what_a_device_can_not_do_is_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Speed(**settings).check("cpu")
    Speed(attention="auto", checkpointing=True, compile=True).check("cpu")


def test_liger_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'alm-lightning\[gpu\]'"):
        check_liger("gpu")
