"""What vLLM is asked, and what is made of its answers; by a recorder that answers in its place."""

import os

import numpy as np
import pytest
import torch
from tests.unit.training.on_policy.engines.vllm.recorded import ENVIRONMENT, RecordedLLM, package
from tests.unit.training.on_policy.engines.vllm.students import moved, student_of
from tests.unit.training.on_policy.own import settings

from alm_lightning.training.on_policy import TransformersEngine, VllmEngine
from alm_lightning.training.on_policy.engines.vllm.checkpoint import checkpoint_weights

NAMES = {"gemma": "Gemma3ForCausalLM", "llama": "LlamaForCausalLM"}
LIKELIEST = {"max_new_tokens": 6, "top_p": 1e-6}


def engine_of(student, sampling, llm=RecordedLLM, *, sleeps=True):
    return VllmEngine(
        student,
        sampling,
        max_length=96,
        memory_share=0.25,
        sleeps=sleeps,
        eager=False,
        package=package(*NAMES.values(), llm=llm),
    )


def test_a_second_run_in_the_process_is_refused(metaspace_view):
    student = student_of("llama", metaspace_view, adapters=False)
    own = package(*NAMES.values())
    given = {"max_length": 96, "memory_share": 0.25, "sleeps": True, "eager": False, "package": own}
    first = VllmEngine(student, settings(**LIKELIEST), **given)
    # as long as none was made, another run may begin
    VllmEngine(student, settings(**LIKELIEST), **given)
    first(prompts_for(metaspace_view), seed=0)
    with pytest.raises(ValueError, match="an earlier run in this process has made vLLM"):
        VllmEngine(student, settings(**LIKELIEST), **given)


def prompts_for(view):
    texts = ["The", "The quick brown fox", "It cost 5", "a"]
    return [np.array([view.start_id, *view.encode(text).ids]) for text in texts]


def said(answers):
    return [(answer.ids.tolist(), answer.stop_id) for answer in answers]


@pytest.mark.parametrize("sleeps", [True, False])
@pytest.mark.parametrize(
    ("family", "adapters"), [("gemma", True), ("llama", True), ("llama", False)]
)
def test_answers_are_those_of_the_weights_as_they_are(metaspace_view, family, adapters, sleeps):
    """The likeliest tokens, by both engines, before and after the weights have moved."""
    student = student_of(family, metaspace_view, adapters=adapters)
    sampling, prompts = settings(**LIKELIEST), prompts_for(metaspace_view)
    engine, other = (
        engine_of(student, sampling, sleeps=sleeps),
        TransformersEngine(student, sampling),
    )
    first = said(engine(prompts, seed=0))
    assert first == said(other(prompts, seed=0))
    llm = engine._llm
    moved(student.model, 5)
    second = said(engine(prompts, seed=0))
    assert second == said(other(prompts, seed=0))
    assert second != first
    assert engine._llm is llm
    expected = ["generate", "sleep 2", "wake weights", "reload_weights", "wake kv_cache", "reset"]
    expected += ["generate", "sleep 2"]
    assert llm.calls == [
        call for call in expected if sleeps or call.partition(" ")[0] not in ("sleep", "wake")
    ]


def test_what_is_asked_for(metaspace_view):
    student = student_of("llama", metaspace_view, adapters=False)
    student.model.generation_config.eos_token_id = [1, 7]
    engine = engine_of(student, settings(temperature=0.7, top_p=0.9, max_new_tokens=5))
    prompts = prompts_for(metaspace_view)
    engine(prompts, seed=3)
    llm = engine._llm
    assert llm.prompts == [{"prompt_token_ids": prompt.tolist()} for prompt in prompts]
    seeds = [parameters.pop("seed") for parameters in llm.parameters]
    assert len({*seeds}) == len(prompts)
    assert all(
        parameters
        == {
            "n": 1,
            "temperature": 0.7,
            "top_p": 0.9,
            "top_k": 0,
            "max_tokens": 5,
            "stop_token_ids": [1, 7],
            "ignore_eos": True,
            "detokenize": False,
        }
        for parameters in llm.parameters
    )
    given = llm.arguments
    assert not os.path.exists(given.pop("model"))
    assert given == {
        "skip_tokenizer_init": True,
        "generation_config": "vllm",
        "dtype": "float32",
        "max_model_len": 96,
        "max_num_seqs": 4,
        "gpu_memory_utilization": 0.25,
        "enforce_eager": False,
        "enable_sleep_mode": True,
        "tensor_parallel_size": 1,
        "distributed_executor_backend": "external_launcher",
        "seed": 0,
    }
    assert llm.files == ["config.json", "model.safetensors"]
    assert llm.config.vocab_size == metaspace_view.num_tokens


def test_answers_depend_on_the_seed_alone(metaspace_view):
    student = student_of("llama", metaspace_view, adapters=False)
    prompts = [prompts_for(metaspace_view)[0]] * 3
    engine = engine_of(student, settings())
    first, again, other = (said(engine(prompts, seed=seed)) for seed in (1, 1, 2))
    assert first == again == said(engine_of(student, settings())(prompts, seed=1))
    assert first != other
    assert len({str(each) for each in first}) == 3
    assert engine([], seed=0) == []


def test_the_process_is_left_as_it_was(metaspace_view):
    student = student_of("llama", metaspace_view, adapters=False)
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    state = torch.get_rng_state()
    precision = torch.get_float32_matmul_precision()
    student.model.train()
    engine = engine_of(student, settings())
    engine(prompts_for(metaspace_view), seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_float32_matmul_precision() == precision
    assert {name: os.environ.get(name) for name in ENVIRONMENT} == before
    assert student.model.training
    # and vLLM was told who it is, and to stay in the process
    told = engine._llm.environment
    assert (told["RANK"], told["LOCAL_RANK"], told["WORLD_SIZE"]) == ("0", "0", "1")
    assert told["MASTER_ADDR"] == "127.0.0.1"
    assert int(told["MASTER_PORT"]) > 0
    assert os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"


def test_under_autocast_weights_are_merged_before_they_are_rounded(metaspace_view):
    student = student_of("llama", metaspace_view, adapters=True)
    expected = checkpoint_weights(
        student.model, num_tokens=metaspace_view.num_tokens, dtype=torch.bfloat16
    )
    engine = engine_of(student, settings(max_new_tokens=1), sleeps=False)
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            engine(prompts_for(metaspace_view), seed=0)
        assert engine._llm.arguments["dtype"] == "bfloat16"
        found = engine._llm.model.state_dict()
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_student_that_vllm_has_no_model_for_is_refused(scorers):
    with pytest.raises(
        ValueError, match=r"the student is a Byte\w+, and vLLM has no model of that"
    ):
        engine_of(scorers[0], settings())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.token_ids.__setitem__(0, 10**6), "ids below 4"),
        (lambda c: setattr(c, "finish_reason", "abort"), "ended an answer by 'abort'"),
        (lambda c: c.token_ids.append(1), "expected 'stop'"),
    ],
)
def test_what_was_not_asked_for_is_refused(metaspace_view, change, says):
    class Spoiled(RecordedLLM):
        def spoiled(self, completion):
            change(completion)
            return completion

    student = student_of("llama", metaspace_view, adapters=False)
    student.model.generation_config.eos_token_id = 1
    moved(student.model, 3)
    engine = engine_of(student, settings(max_new_tokens=2), Spoiled)
    with pytest.raises(RuntimeError, match=says):
        engine(prompts_for(metaspace_view), seed=0)


def test_a_cache_that_is_not_reset_is_refused(metaspace_view):
    engine = engine_of(student_of("llama", metaspace_view, adapters=False), settings())
    engine(prompts_for(metaspace_view), seed=0)
    engine._llm.resets = False
    with pytest.raises(RuntimeError, match="did not reset its cache"):
        engine(prompts_for(metaspace_view), seed=0)
