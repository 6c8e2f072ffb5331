"""Real weights on another real tokenizer, trained for two steps, read by transformers alone."""

import json
import os
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from transformers import AutoModelForCausalLM, AutoTokenizer

from alm_lightning.app.train import command as app

pytestmark = pytest.mark.slow

CONF = Path(__file__).parents[2] / "conf"
STEP = int(os.environ.get("ALM_LIGHTNING_ROWS_STEP", "60"))
PROMPT = "The capital of France is"
CHAT = [{"role": "user", "content": "Name a colour."}]


def texts():
    folder = os.environ.get("ALM_LIGHTNING_DATA")
    if folder is None:
        return ["naïve café 👍🏽", "  two  spaces\n\tand a tab", "日本語", PROMPT]
    lines = Path(folder, "multilingual.jsonl").read_text("utf-8").strip().split("\n")
    return [json.loads(line)["text"] for line in lines[::STEP]]


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    """A trained student of SmolLM2 over GPT-2's tokens, its teacher, and its exported folder."""
    seen = {}
    folder = tmp_path_factory.mktemp("run")
    export = app.export_student

    def noting(student, folder, **settings):
        seen["student"] = student
        return export(student, folder, **settings)

    overrides = [
        "experiment=smollm2_to_gpt2_tokenizer",
        *("budget.steps=2", "budget.batch_size=2", "budget.evaluation_windows=4"),
        *("budget.student_length=64", "budget.teacher_length=64"),
        *("export_dtype=float32", "student.dtype=float32", "trainer.precision=32-true"),
        *("sample_prompts=0", f"paths.output_dir={folder}"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "export_student", noting)
        with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            seen["summary"] = app.train(compose("train", overrides))
    return seen | {"folder": folder / "model"}


def test_training_moves_the_student_towards_its_teacher(moved):
    bits = moved["summary"]["bits_per_byte"]
    assert bits["teacher"] < bits["student_after"] < bits["student_before"]


def test_transformers_alone_reads_the_trained_student(moved):
    student = moved["student"]
    tokenizer = AutoTokenizer.from_pretrained(moved["folder"])
    model = AutoModelForCausalLM.from_pretrained(moved["folder"], dtype=torch.float32)
    assert type(model).__name__ == "LlamaForCausalLM"
    for text in texts():
        ids = tokenizer(text)["input_ids"]
        assert ids == student.view.hf(text)["input_ids"]
        assert ids[len(ids) - len(student.view.encode(text).ids) :] == (
            student.view.encode(text).ids.tolist()
        )
    ids = torch.tensor([tokenizer(PROMPT)["input_ids"]])
    with torch.no_grad():
        theirs, ours = model(ids).logits, student.model.eval()(ids).logits
    assert (theirs - ours).abs().max() < 1e-4


def test_it_has_the_chat_template_of_its_base_and_writes_words(moved):
    tokenizer = AutoTokenizer.from_pretrained(moved["folder"])
    model = AutoModelForCausalLM.from_pretrained(moved["folder"], dtype=torch.float32)
    chat = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    assert chat.endswith("<|im_start|>assistant\n")
    assert "<|im_start|>user\nName a colour.<|im_end|>" in chat
    inputs = tokenizer(PROMPT, return_tensors="pt")
    written = model.generate(**inputs, max_new_tokens=12, do_sample=False)
    said = tokenizer.decode(written[0], skip_special_tokens=True).removeprefix(PROMPT)
    words = said.split()
    # two steps leave a small model that knows words, not a good one
    assert len(words) >= 5
    assert sum(word.strip(".,;:!?\"'").isalpha() for word in words) >= len(words) / 2
