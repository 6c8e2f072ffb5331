"""Distillation across families: what the experiments say, and each in small."""

import json

import datasets
import pytest
import torch
from tests.config.test_paper_subword import SIZES, byte_level
from tests.conftest import tiny_gemma3
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from alm_lightning.app.train.command import train
from alm_lightning.tokenization.chat.formats import FORMATS

# whole runs
pytestmark = pytest.mark.slow

EXPERIMENTS = {
    "smollm2_to_gemma_chat": ("google/gemma-3-270m", "HuggingFaceTB/SmolLM2-135M-Instruct"),
    "maths": ("google/gemma-3-270m", "Qwen/Qwen2.5-Coder-0.5B-Instruct"),
    "openmath2_llama_to_gemma2": ("google/gemma-2-2b-it", "nvidia/OpenMath2-Llama3.1-8B"),
}
PROBLEMS = [(f"What is {n} and {n}?", f"{n} and {n} are {2 * n}. #### {2 * n}") for n in range(40)]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_student_and_teacher_are_of_two_families(composed, experiment):
    cfg = composed(f"experiment={experiment}")
    assert (cfg.student.name, cfg.teacher.name) == EXPERIMENTS[experiment]
    assert cfg.tokenizer._target_.endswith("OwnTokenizer")
    assert cfg.embeddings._target_.endswith("OwnVocabulary")
    assert set(cfg.objective) == {"alm", "next_token"}
    assert cfg.chat.student_template is None
    assert cfg.chat.teacher_template is None
    assert cfg.chat.system == "merge"
    # what a user says wins
    own = composed(f"experiment={experiment}", "adapter=full", "teacher=gemma3_12b_it")
    assert own.adapter._target_.endswith("FullFineTuning")
    assert own.teacher.name == "google/gemma-3-12b-it"
    assert own.chat == cfg.chat


def test_the_maths_of_paper_size_is_the_published_recipe(composed):
    cfg = composed("experiment=openmath2_llama_to_gemma2")
    # a problem has several solutions
    assert cfg.corpus.split_by == "question"
    budget = cfg.budget
    assert (budget.steps, budget.batch_size, budget.learning_rate) == (5000, 64, 5e-6)
    assert (budget.student_length, budget.teacher_length) == (1024, 1024)
    assert cfg.adapter._target_.endswith("FullFineTuning")
    assert cfg.chat.trained == "all"
    assert cfg.corpus.source.name == "nvidia/OpenMathInstruct-2"
    assert cfg.corpus.source.column == ["problem", "generated_solution"]


@pytest.fixture
def pair(tmp_path, metaspace_tokenizer):
    """A tiny Gemma without a chat template, and a tiny, wider Llama with one."""
    student, teacher = tmp_path / "student", tmp_path / "teacher"
    # rows that no token has, as real checkpoints do
    tiny_gemma3(len(metaspace_tokenizer) + 8).save_pretrained(student)
    metaspace_tokenizer.save_pretrained(student)
    tokenizer = byte_level(["<|endoftext|>", "<|im_end|>", "<|im_start|>"], "qwen", 300)
    torch.manual_seed(1)
    sizes = SIZES | {"hidden_size": 48, "num_hidden_layers": 3}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(teacher)
    tokenizer.save_pretrained(teacher)
    return student, teacher


@pytest.fixture
def corpus(experiment, tmp_path, monkeypatch):
    """Overrides for the corpus that the experiment names."""
    if experiment == "openmath2_llama_to_gemma2":

        def load_dataset(name, config, *, split, revision, streaming):
            assert (name, split) == ("nvidia/OpenMathInstruct-2", "train_1M")
            problems, solutions = zip(*PROBLEMS, strict=True)
            return datasets.Dataset.from_dict(
                {"problem": problems, "generated_solution": solutions, "expected_answer": problems}
            )

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        return ["corpus.heldout_share=0.2"]
    rows = [{"question": question, "answer": answer} for question, answer in PROBLEMS]
    if experiment == "smollm2_to_gemma_chat":
        turns = (("system", "Be brief."), ("user", "question"), ("assistant", "answer"))
        rows = [
            {"messages": [{"role": role, "content": row.get(key, key)} for role, key in turns]}
            for row in rows
        ]
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return [f"corpus.source.path={path}"]


def in_small(pair):
    student, teacher = (in_place_of(side, f) for side, f in zip(SIDES, pair, strict=True))
    return [
        *student,
        *teacher,
        "trainer=cpu",
        "trainer.precision=32-true",
        "budget.steps=3",
        "budget.batch_size=4",
        "budget.micro_batch_size=2",
        "budget.student_length=64",
        "budget.teacher_length=64",
        "budget.learning_rate=3e-3",
        "budget.evaluation_windows=4",
        "budget.validate_every=null",
        "student.dtype=float32",
        "teacher.dtype=float32",
        "student.attention=sdpa",
        "export_dtype=float32",
        "sample_prompts=0",
    ]


SIDES = ("student", "teacher")


def in_place_of(side, folder):
    """The source of one side: a folder, whatever the experiment has."""
    source = f"{{_target_: alm_lightning.models.weights.sources.Folder, path: {folder}}}"
    return [f"~{side}.source", f"+{side}.source={source}"]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_it_trains_in_small(composed, experiment, pair, corpus, tmp_path):
    cfg = composed(f"experiment={experiment}", *in_small(pair), *corpus)
    summary = train(cfg)
    assert summary["steps"] == 3
    assert summary["chunks"]["coverage"] == 1.0
    figures = summary["bits_per_byte"]
    assert figures["student_after"] < figures["student_before"] - 0.05

    student = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    before = AutoModelForCausalLM.from_pretrained(pair[0], dtype=torch.float32)
    assert type(student) is type(before)
    embeddings = (m.get_input_embeddings().weight for m in (student, before))
    # the experiments with adapters leave the embeddings alone; a full fine-tune does not
    assert torch.equal(*embeddings) == (experiment != "openmath2_llama_to_gemma2")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    old = AutoTokenizer.from_pretrained(pair[0])
    assert tokenizer("What is one?")["input_ids"] == old("What is one?")["input_ids"]
    has_template = experiment != "openmath2_llama_to_gemma2"
    assert tokenizer.chat_template == (FORMATS["gemma"].jinja if has_template else None)
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert f"learned from {cfg.teacher.name}: {cfg.teacher.licence}" in card
    stops = tokenizer.convert_tokens_to_ids([old.eos_token, "<end_of_turn>"])
    assert sorted(student.generation_config.eos_token_id) == sorted(stops)


@pytest.mark.parametrize("experiment", ["maths"])
def test_hidden_states_of_another_width_go_through_a_projection(
    composed, experiment, pair, corpus, tmp_path
):
    overrides = [f"experiment={experiment}", "objective=alm_next_token_hidden", *in_small(pair)]
    with pytest.raises(ValueError, match=r"32 wide.*48 wide.*hidden_states\.projection=linear"):
        train(composed(*overrides, *corpus))
    cfg = composed(*overrides, *corpus, "objective.hidden_states.projection=linear")
    summary = train(cfg)
    assert summary["bits_per_byte"]["student_after"] < summary["bits_per_byte"]["student_before"]
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    found = checkpoint["state_dict"]["objective.hidden_states.map.weight"]
    assert found.shape == (48, 32)
    # trained along: orthogonal columns is how it started
    assert not torch.allclose(found.T @ found, torch.eye(32), atol=1e-4)


def test_a_shared_body_is_refused(composed, pair, tmp_path):
    overrides = ["experiment=maths", "corpus.source.path=x", *in_small(pair)]
    path = tmp_path / "x.jsonl"
    path.write_text(
        "".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in PROBLEMS),
        encoding="utf-8",
    )
    cfg = composed(*overrides, "adapter.share_body=true", f"corpus.source.path={path}")
    with pytest.raises(ValueError, match=r"share_body=true.*another model.*share_body=false"):
        train(cfg)
