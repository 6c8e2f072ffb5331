"""A run onto another subword tokenizer, from its configuration to the folder that it leaves."""

import csv
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from alm_lightning.training.module import DistillModule


@pytest.fixture(scope="module")
def transfer(byte_level_tokenizer, tmp_path_factory):
    """Overrides of a transfer: the metaspace Gemma gets the byte-level tokenizer."""
    folder = tmp_path_factory.mktemp("tokenizers") / "byte-level"
    byte_level_tokenizer.save_pretrained(folder)
    return [
        "tokenizer=folder",
        f"tokenizer.source.path={folder}",
        "embeddings=fvt",
        "student.stop_tokens=['<end_of_turn>']",
        "trainer.precision=32-true",
        "student.dtype=float32",
        "export_dtype=float32",
        "budget.learning_rate=1e-2",
    ]


LORA = ["adapter=lora", "adapter.rank=4", "adapter.alpha=8"]


@pytest.fixture
def built(monkeypatch):
    """The modules that runs of this test train."""
    found = []
    original = DistillModule.__init__

    def noted(self, **settings):
        original(self, **settings)
        found.append(self)

    monkeypatch.setattr(DistillModule, "__init__", noted)
    return found


@pytest.mark.parametrize("adapter", [LORA, [*LORA, "adapter.share_body=false"], ["adapter=full"]])
def test_the_exported_folder_is_the_trained_student(run_here, transfer, built, tmp_path, adapter):
    summary = run_here(*transfer, *adapter)
    (module,) = built
    folder = Path(summary["model_path"])
    assert folder == tmp_path / "model"
    # any transformers reads it: no code of its own, and no adapters
    assert not list(folder.glob("*.py"))
    assert not list(folder.glob("adapter*"))
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert type(model).__name__ == "Gemma3ForCausalLM"
    ids = torch.tensor([tokenizer("The quick brown fox.").input_ids])
    with torch.no_grad():
        torch.testing.assert_close(
            model(ids).logits, module.student.eval()(ids).logits, rtol=0, atol=1e-4
        )
    # what was trained is not what was there: the folder is not that of an untrained student
    figures = summary["bits_per_byte"]
    assert figures["student_after"] < figures["student_before"] - 0.1

    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["Gemma3ForCausalLM"]
    assert config["vocab_size"] == len(tokenizer)
    assert config["eos_token_id"] == tokenizer.eos_token_id
    generation = json.loads((folder / "generation_config.json").read_text())
    end_of_turn = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    assert generation["eos_token_id"] == [tokenizer.eos_token_id, end_of_turn]
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "trust_remote_code" not in card
    assert "adapter._target_" in card


def test_an_export_in_bfloat16(run_here, transfer):
    summary = run_here(*transfer, *LORA, "export_dtype=bfloat16")
    weights = load_file(Path(summary["model_path"]) / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}


def test_teacher_and_student_hold_the_body_once(run_here, transfer, built):
    run_here(*transfer, *LORA)
    (module,) = built
    student = {id(p) for p in module.student.parameters()}
    teacher = dict(module._teacher_scorer.model.named_parameters())
    own = [name for name, parameter in teacher.items() if id(parameter) not in student]
    assert own == ["model.embed_tokens.weight"]


def test_a_checkpoint_has_what_is_trained_and_no_more(run_here, transfer, built, tmp_path):
    run_here(*transfer, *LORA)
    (module,) = built
    saved = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=False)["state_dict"]
    trained = {f"student.{n}" for n, p in module.student.named_parameters() if p.requires_grad}
    # a tied head is the embeddings under another name
    assert set(saved) - {"student.lm_head.weight"} == trained


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_run_goes_on(run_here, transfer, tmp_path):
    """With adapters and new embeddings where they were, and the same teacher."""

    def losses(folder):
        with (folder / "metrics.csv").open(encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row.get("train/alm")]
        return {row["step"]: (row["train/alm"], row["train/hidden_states"]) for row in rows}

    steps = [*transfer, *LORA, "budget.checkpoint_every=1", "callbacks.checkpoint.save_top_k=-1"]
    run_here(*steps, f"paths.output_dir={tmp_path}/whole")
    checkpoint = tmp_path / "whole/checkpoints/step_1.ckpt"
    assert checkpoint.is_file(), sorted(p.name for p in checkpoint.parent.iterdir())
    run_here(*steps, f"paths.output_dir={tmp_path}/on", f"ckpt_path={checkpoint}")
    whole, resumed = losses(tmp_path / "whole"), losses(tmp_path / "on")
    assert len(whole) == 3
    assert 0 < len(resumed) < 3
    assert resumed == {step: whole[step] for step in resumed}
    with pytest.raises(ValueError, match=r"adapter\.rank: 4 then, 5 now"):
        run_here(
            *[*steps, "adapter.rank=5"],
            f"paths.output_dir={tmp_path}/other",
            f"ckpt_path={checkpoint}",
        )


def test_no_steps_export_the_student_as_it_starts(run_here, transfer):
    summary = run_here(*transfer, *LORA, "budget.steps=0")
    assert summary["steps"] == 0
    for name in ("bits_per_byte", "bits_per_byte_other"):
        assert summary[name]["student_before"] == summary[name]["student_after"]
    assert (Path(summary["model_path"]) / "model.safetensors").is_file()


def test_a_body_that_is_another_models_is_not_shared(run_here, transfer, tmp_path):
    with pytest.raises(ValueError, match=r"their dtype differ.*adapter\.share_body=false"):
        run_here(*transfer, *LORA, "teacher.dtype=float64")
    with pytest.raises(ValueError, match=r"can't share its teacher's body"):
        run_here(*LORA, f"paths.output_dir={tmp_path}/bytes")


def test_frozen_weights_in_bfloat16_need_mixed_precision(run_here, transfer):
    with pytest.raises(ValueError, match=r"frozen weights are torch\.bfloat16.*bf16-mixed"):
        run_here(*transfer, *LORA, "student.dtype=bfloat16")


def test_frozen_weights_in_bfloat16(run_here, transfer, built):
    summary = run_here(*transfer, *LORA, "student.dtype=bfloat16", "trainer.precision=bf16-mixed")
    (module,) = built
    layer = module.student.model.layers[0].mlp.up_proj
    assert layer.base_layer.weight.dtype == torch.bfloat16
    figures = summary["bits_per_byte"]
    assert figures["student_after"] < figures["student_before"] - 0.1
