"""What vLLM reads is what transformers would read, with the adapters added in."""

import copy

import pytest
import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from tests.unit.training.on_policy.engines.vllm.students import FAMILIES, student_of
from transformers import AutoModelForCausalLM

from alm_lightning.training.on_policy.engines.vllm.checkpoint import (
    checkpoint_weights,
    write_checkpoint,
)


def merged_by_peft(model):
    """A copy whose adapters peft itself has merged, under the plain names."""
    other = copy.deepcopy(model)
    for module in other.modules():
        if isinstance(module, LoraLayer):
            module.merge()
    return {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in other.state_dict().items()
        if ".lora_" not in name
    }


@pytest.mark.parametrize("family", ["gemma", "llama"])
def test_adapters_are_merged_as_peft_merges_them(metaspace_view, family):
    student = student_of(family, metaspace_view, adapters=True)
    before = copy.deepcopy(student.model.state_dict())
    found = checkpoint_weights(
        student.model, num_tokens=metaspace_view.num_tokens, dtype=torch.float32
    )
    expected = merged_by_peft(student.model)
    tied = {*student.model.all_tied_weights_keys}
    assert found.keys() == expected.keys() - tied
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name][: len(tensor)])
    adapted = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(found[adapted], before[adapted.replace(".weight", ".base_layer.weight")])
    # the student is left as it is
    after = student.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("family", [*FAMILIES])
@pytest.mark.parametrize("adapters", [False, True])
def test_a_fresh_model_of_the_folder_computes_the_same(metaspace_view, tmp_path, family, adapters):
    student = student_of(family, metaspace_view, adapters=adapters)
    num_tokens = metaspace_view.num_tokens
    write_checkpoint(student.model, tmp_path, num_tokens=num_tokens, dtype=torch.float32)
    fresh, loading = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert fresh.config.vocab_size == num_tokens == len(fresh.get_output_embeddings().weight)
    assert fresh.config.architectures == [type(student.model).__name__]
    assert student.model.config.vocab_size > num_tokens
    ids = torch.tensor([[2, *range(5, 25)]])
    with torch.no_grad():
        expected = student.model(input_ids=ids).logits[..., :num_tokens]
        found = fresh.eval()(input_ids=ids).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", [*FAMILIES])
def test_names_are_those_that_transformers_saves(metaspace_view, tmp_path, family):
    """Mixtral's experts are one tensor in memory, and many in a checkpoint."""
    student = student_of(family, metaspace_view, adapters=False)
    student.model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    found = checkpoint_weights(
        student.model, num_tokens=metaspace_view.num_tokens, dtype=torch.float32
    )
    assert found.keys() == saved.keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, saved[name][: len(tensor)])
    assert any("experts.1" in name for name in found) == (family == "mixtral")
