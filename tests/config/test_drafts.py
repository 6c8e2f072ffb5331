"""Draft models: what the experiments say, each in small, and what harness=draft makes of them."""

import json

import pytest
import torch
from hydra import compose, initialize_config_dir
from tests.config.conftest import CONF
from tests.config.test_cross_family import in_small
from tests.config.test_paper_subword import SIZES, byte_level
from tests.conftest import tiny_gemma3
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from alm_lightning.app.evaluate.arguments import model_arguments
from alm_lightning.app.evaluate.command import evaluate
from alm_lightning.app.scoring import score_corpus
from alm_lightning.app.train.command import train

# whole runs
pytestmark = pytest.mark.slow

TARGETS = {
    "smollm2_draft_for_qwen": "Qwen/Qwen2.5-Coder-0.5B-Instruct",
    "smollm2_draft_for_gemma": "google/gemma-3-270m",
}
PADDING = 7
"""Rows that no token has, as real checkpoints have them."""
ROWS = [
    {
        "prompt": "x",
        "question": f"What is {n} and {n}?",
        "answer": f"{n} and {n} are {2 * n}.",
        "text": f"What is {n} and {n}? {n} and {n} are {2 * n}.",
    }
    for n in range(40)
]


@pytest.mark.parametrize("experiment", TARGETS)
def test_the_student_gets_the_tokenizer_of_its_teacher(composed, experiment):
    cfg = composed(f"experiment={experiment}", "corpus=python_manual")
    assert cfg.student.name == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert cfg.teacher.name == cfg.tokenizer.name == TARGETS[experiment]
    assert cfg.tokenizer.source.weights == cfg.teacher.source
    assert cfg.tokenizer.special_tokens == "replace"
    assert list(cfg.objective) == ["strict_one_to_one"]
    other = composed(f"experiment={experiment}", "corpus=python_manual", "teacher=gemma3_12b_it")
    assert other.tokenizer.name == "google/gemma-3-12b-it"
    accepting = composed(
        f"experiment={experiment}", "corpus=python_manual", "objective=total_variation"
    )
    assert list(accepting.objective) == ["total_variation", "next_token"]


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return {
        "smollm2_draft_for_qwen": ["corpus=question_answer", f"corpus.source.path={path}"],
        "smollm2_draft_for_gemma": ["corpus=jsonl", f"corpus.source.path={path}"],
    }


@pytest.fixture
def pair(tmp_path, experiment, metaspace_tokenizer):
    """A tiny Llama with a chat format, and a tiny target of another vocabulary with padding."""
    student, target = tmp_path / "student", tmp_path / "target"
    tokenizer = byte_level(["<|endoftext|>", "<|im_end|>", "<|im_start|>"], "chatml", 290)
    config = LlamaConfig(vocab_size=len(tokenizer), tie_word_embeddings=True, **SIZES)
    LlamaForCausalLM(config).save_pretrained(student)
    tokenizer.save_pretrained(student)
    if experiment == "smollm2_draft_for_gemma":
        tiny_gemma3(len(metaspace_tokenizer) + PADDING).save_pretrained(target)
        metaspace_tokenizer.save_pretrained(target)
        return student, target
    tokenizer = byte_level(["<|end|>", "<|im_end|>", "<|im_start|>", "<|fim|>"], "chatml", 310)
    torch.manual_seed(1)
    sizes = SIZES | {"hidden_size": 48, "num_hidden_layers": 3}
    config = LlamaConfig(vocab_size=len(tokenizer) + PADDING, **sizes)
    LlamaForCausalLM(config).save_pretrained(target)
    tokenizer.save_pretrained(target)
    return student, target


def evaluated(tmp_path, *arguments):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        said = [f"paths.output_dir={tmp_path / 'evaluation'}", "dtype=float32"]
        cfg = compose("evaluate", [*said, *model_arguments(arguments)])
    return evaluate(cfg, CONF / "model")


@pytest.mark.parametrize("experiment", TARGETS)
@pytest.mark.parametrize("objective", ["strict_one_to_one_alone", "total_variation"])
def test_a_draft_is_trained_and_measured(composed, experiment, objective, pair, corpus, tmp_path):
    said = [f"experiment={experiment}", f"objective={objective}", *in_small(pair)]
    said.append("budget.checkpoint_every=1")
    summary = train(composed(*said, *corpus[experiment]))
    assert summary["chunks"]["coverage"] == 1.0
    assert summary["chunks"]["student_tokens_per_chunk"] == 1.0
    assert summary["chunks"]["teacher_tokens_per_chunk"] == 1.0

    student, target = tmp_path / "model", pair[1]
    vocabularies = [AutoTokenizer.from_pretrained(each).get_vocab() for each in (student, target)]
    assert vocabularies[0] == vocabularies[1]
    models = [AutoModelForCausalLM.from_pretrained(each) for each in (student, target)]
    rows = {len(each.get_output_embeddings().weight) for each in models}
    assert rows == {models[1].config.vocab_size} == {len(vocabularies[0]) + PADDING}
    # padding is made of what was trained, and is not in checkpoints
    count = len(vocabularies[0])
    table = models[0].get_input_embeddings().weight
    torch.testing.assert_close(table[count:], table[:count].mean(0).expand(PADDING, -1))
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=False)["state_dict"]
    (trained,) = (t for name, t in state.items() if name.endswith("embed_tokens.weight"))
    torch.testing.assert_close(table[:count], trained)

    measured = [
        "harness=draft",
        f"harness.draft.target={target}",
        "harness.draft.max_prompts=3",
        "harness.draft.max_new_tokens=8",
        "harness.draft.prompt_lookup=true",
        *corpus[experiment],
    ]
    # the model as it was is of another vocabulary
    with pytest.raises(ValueError, match="another vocabulary"):
        evaluated(tmp_path, f"model={pair[0]}", *measured)
    models = f"model=[{student},{pair[0]}]"
    across = "harness.draft.across=[universal,intersection]"
    found = evaluated(tmp_path, models, "names=[draft,before]", across, *measured)
    assert found[0]["figures"]["equal"]["value"] == 1
    assert found[0]["figures"]["accepted"]["count"] == 3
    assert found[1]["figures"]["equal_intersection"]["value"] == 1
    records = tmp_path / "evaluation" / "draft" / "draft" / "records.jsonl"
    before = records.read_text("utf-8")
    # what is there is not measured again; what was lost is
    records.write_text("".join(before.splitlines(keepends=True)[:2]), "utf-8")
    again = evaluated(tmp_path, models, "names=[draft,before]", across, *measured)
    assert records.read_text("utf-8").splitlines()[:2] == before.splitlines()[:2]
    assert again[0]["figures"]["accepted"] == found[0]["figures"]["accepted"]
    with pytest.raises(ValueError, match=r"harness\.draft_tokens: 5, now 4"):
        evaluated(
            tmp_path,
            models,
            "names=[draft,before]",
            across,
            *measured,
            "harness.draft.draft_tokens=4",
        )


@pytest.mark.parametrize("experiment", ["smollm2_draft_for_qwen"])
def test_a_draft_of_a_stored_teacher(composed, experiment, pair, corpus, tmp_path, caplog):
    """As docs/guides/drafts.md has it: the store's tokenizer, and no more rows than it has."""
    said = [f"experiment={experiment}", "windows.cut_bytes=250", *corpus[experiment]]
    store = tmp_path / "store"
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        score_corpus(compose("score", [*said, *in_small(pair), f"scores.path={store}"]))
    alone = [each for each in in_small(pair) if not each.lstrip("~+").startswith("teacher.")]
    own = [
        "teacher=scores",
        f"teacher.scores.path={store}",
        "tokenizer=folder",
        f"tokenizer.source.path={store}/tokenizer",
        "tokenizer.special_tokens=replace",
        f"paths.output_dir={tmp_path / 'run'}",
    ]
    train(composed(*said, *alone, *own))
    (message,) = [
        record.getMessage()
        for record in caplog.records
        if record.name == "alm_lightning.distillation.export" and record.levelname == "WARNING"
    ]
    student, target = tmp_path / "run" / "model", pair[1]
    count = len(AutoTokenizer.from_pretrained(target))
    assert f"none are added to the student's {count}." in message
    assert f"python evaluate.py model={student} harness=draft" in message
    measured = [f"model={student}", "harness=draft", f"harness.draft.target={target}"]
    with pytest.raises(
        ValueError, match=f"has {count} rows of embeddings and .* {count + PADDING}"
    ):
        evaluated(tmp_path, *measured, *corpus[experiment])
