"""A byte model that was made in one run is the student, and the teacher, of the next."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

# whole runs
pytestmark = pytest.mark.slow

OWN = ["tokenizer=own", "embeddings=own", "student.special_tokens=[]", "export_dtype=float32"]


@pytest.fixture
def first(run_here, tmp_path):
    """The folder of a byte model, fresh from a run, and its bits per byte."""
    summary = run_here(f"paths.output_dir={tmp_path / 'first'}", "export_dtype=float32")
    return Path(summary["model_path"]), summary["bits_per_byte"]["student_after"]


@pytest.mark.parametrize(
    "adapter",
    [["adapter=full"], ["adapter=lora", "adapter.share_body=false", "adapter.rank=4"]],
)
def test_a_byte_model_is_trained_on(run_here, first, model_folder, tmp_path, adapter):
    start, ended = first
    summary = run_here(
        f"paths.output_dir={tmp_path / 'second'}",
        f"student.source.path={start}",
        "teacher=folder",
        f"teacher.source.path={model_folder}",
        *OWN,
        *adapter,
        "budget.steps=6",
        "budget.learning_rate=1e-2",
    )
    folder = Path(summary["model_path"])
    names = {path.name for path in folder.iterdir()}
    assert {"byte_lm.py", "model.safetensors", "tokenizer.json"} <= names
    assert not [name for name in names if name.startswith("adapter")]
    # it begins where the first ended
    figures = summary["bits_per_byte"]
    assert figures["student_before"] == pytest.approx(ended, rel=1e-4)
    assert figures["student_after"] < figures["student_before"]
    old, new = (load_file(place / "model.safetensors") for place in (start, folder))
    assert old.keys() == new.keys()
    key = next(name for name in old if name.endswith("expansion.embedding.weight"))
    assert torch.equal(old[key], new[key])
    assert any(not torch.equal(old[name], new[name]) for name in old)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    written = model.generate(**tokenizer("The ", return_tensors="pt"), max_new_tokens=4)
    assert written.shape[1] <= len(b"<bos>The ") + 4


def test_it_can_be_moved_onto_no_other_tokenizer(run_here, first):
    with pytest.raises(ValueError, match="byte model, which can't be moved onto another tokenizer"):
        run_here(f"student.source.path={first[0]}", "student.special_tokens=[]")


def test_a_student_that_is_its_own_teacher_is_refused(run_here, model_folder):
    with pytest.raises(ValueError, match=r"learn from itself.*objective=next_token"):
        run_here(*OWN, "objective=alm_next_token_hidden", "~objective.next_token")
    run_here(*OWN, "objective=next_token", "budget.steps=1", without=("objective.alm.threshold",))
