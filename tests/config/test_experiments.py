"""Experiments, and the sweep over one factor at a time."""

import math
import re

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tests.config.conftest import CONF

from alm_lightning.evaluation.ensemble.members import REMEDY

# a composition for each experiment
pytestmark = pytest.mark.slow

EXPERIMENTS = sorted(
    file.relative_to(CONF / "experiment").with_suffix("").as_posix()
    for file in (CONF / "experiment").glob("**/*.yaml")
)
PATH = ["corpus.source.path=x.jsonl"]
REQUIRED = {"maths": PATH, "smollm2_to_gemma_chat": PATH, "smollm2_draft_for_qwen": PATH}
"""Of some experiments the text is the user's own."""
BUDGETS = sorted(file.stem for file in (CONF / "budget").glob("*.yaml"))
ABLATIONS = sorted(file.stem for file in (CONF / "ablation").glob("*.yaml"))


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiment_composes_with_every_budget(composed, experiment, budget):
    cfg = composed(f"experiment={experiment}", f"budget={budget}", *REQUIRED.get(experiment, []))
    # nothing is left to be said, and every reference leads somewhere
    assert not OmegaConf.missing_keys(cfg)
    plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert plain["name"] == experiment
    assert plain["trainer"]["max_steps"] == plain["budget"]["steps"] > 0


def test_without_a_word_it_is_gemma_to_bytes_on_a_quick_budget(composed):
    said = composed("experiment=gemma_to_bytes", "budget=quick")
    assert composed() == said
    assert list(said.objective) == ["next_byte", "hidden_states"]
    assert said.objective.hidden_states.fades_by == 0.5
    assert said.objective.next_byte.end == "drop"


def test_alm_as_published_is_one_word_away(composed):
    said = composed("objective=alm_next_token_hidden")
    assert list(said.objective) == ["alm", "next_token", "hidden_states"]
    assert said.objective.hidden_states.fades_by is None
    assert (said.objective.alm.temperature, said.objective.alm.threshold) == (5, 0.1)
    assert said.objective.alm.divergence == "kl"


def test_bytes_are_trained_in_full_and_subwords_by_adapters(composed):
    assert composed().adapter._target_.endswith("FullFineTuning")
    # those across families are test_cross_family.py's
    for experiment in EXPERIMENTS:
        cfg = composed(f"experiment={experiment}")
        if cfg.teacher.name != cfg.student.name:
            continue
        is_bytes = cfg.tokenizer._target_.endswith("byte_view_like")
        assert cfg.adapter._target_.endswith("FullFineTuning" if is_bytes else "LowRank")
        # adapters with one copy of the body need the student's own model as the teacher
        assert cfg.teacher.source == cfg.student.source


@pytest.mark.parametrize("budget", ["quick", "laptop"])
@pytest.mark.parametrize(
    ("experiment", "student", "tokenizer"),
    [
        ("gemma_to_smollm2_tokenizer", "google/gemma-3-270m", "HuggingFaceTB/SmolLM2"),
        ("smollm2_to_gpt2_tokenizer", "HuggingFaceTB/SmolLM2", "openai-community/gpt2"),
    ],
)
def test_transfers_of_this_machine(composed, experiment, budget, student, tokenizer):
    cfg = composed(f"experiment={experiment}", f"budget={budget}")
    assert cfg.student.name.startswith(student)
    assert cfg.tokenizer.name.startswith(tokenizer)
    assert set(cfg.objective) == {"alm", "next_token"}
    assert (cfg.budget.student_length, cfg.budget.teacher_length) == (128, 128)
    assert cfg.budget.steps == {"quick": 60, "laptop": 400}[budget]
    assert cfg.optimizer.lr == cfg.budget.learning_rate == 5e-5
    # what the command line says wins over the experiment
    own = composed(f"experiment={experiment}", "embeddings=mean", "budget.student_length=64")
    assert own.embeddings.initialisation._target_.endswith("Mean")
    assert own.budget.student_length == 64


def test_an_ablation_differs_from_its_base_in_one_thing(composed):
    experiment = "experiment=gemma_to_smollm2_tokenizer"
    base = composed(experiment, "ablation=base")
    assert base == composed(experiment)
    changed = {
        "tau_1": {"temperature": 1},
        "tau_100": {"temperature": 100},
        "tau_inf": {"temperature": math.inf},
        "no_debiasing": {"debias": False},
        "threshold_0": {"threshold": 0},
        "threshold_05": {"threshold": 0.5},
    }
    for name, values in changed.items():
        cfg = composed(experiment, f"ablation={name}")
        assert cfg.objective.alm == {**base.objective.alm, **values} != base.objective.alm
        cfg.objective.alm = base.objective.alm
        assert cfg == base
    hidden = composed(experiment, "ablation=hidden_states")
    assert set(hidden.objective) == {"alm", "next_token", "hidden_states"}
    assert hidden.objective.alm == base.objective.alm
    assert set(ABLATIONS) == {"base", "hidden_states", *changed}


def test_an_ablation_wins_over_the_experiment(composed):
    for experiment in ("gemma_to_bytes", "gemma2_to_qwen2"):
        cfg = composed(f"experiment={experiment}", "ablation=tau_100")
        assert set(cfg.objective) == {"alm", "next_token"}
        assert cfg.objective.alm.temperature == 100
        assert cfg.name == experiment


def test_the_sweep_runs_every_ablation_without_m():
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        cfg = compose("train", ["sweep=ablation"], return_hydra_config=True)
    swept = cfg.hydra.sweeper.params.ablation.split(",")
    assert swept[0] == "base"
    assert sorted(swept) == ABLATIONS
    # without it, Hydra would pass the sweep over and start one run
    assert cfg.hydra.mode.name == "MULTIRUN"


def test_what_an_error_recommends_for_an_ensemble_composes(composed):
    said = REMEDY.replace("<member to move>", "smollm2_135m").replace(
        "<the other's tokenizer>", "gemma3"
    )
    said = said.replace("student=...", "student=smollm2_135m")
    commands = [re.findall(r"[\w.]+=\w+", quoted) for quoted in re.findall(r"`([^`]*)`", said)]
    assert [len(overrides) for overrides in commands] == [4, 3]
    for overrides in commands:
        cfg = composed(*overrides)
        assert cfg.tokenizer.special_tokens == "replace"
        assert cfg.student.name.startswith("HuggingFaceTB")
