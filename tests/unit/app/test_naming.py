"""What a run is called when nobody names it."""

import warnings

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import open_dict, read_write
from tests.config.conftest import CONF

from alm_lightning.app.hydra.callbacks import NameRun

HUB = ["student=hub", "student.source.hub_id=org/My-Model_1.5b"]
OWN = ["tokenizer=own", "embeddings=own"]


@pytest.fixture(autouse=True)
def no_warning():
    """Hydra makes a warning of what a callback raises."""
    with warnings.catch_warnings(action="error"):
        yield


def named(*overrides, node="train"):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        cfg = compose(node, list(overrides), return_hydra_config=True)
    NameRun().on_run_start(cfg)
    assert f"outputs/{cfg.name}/" in cfg.hydra.run.dir
    return cfg.name


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "gemma_to_bytes"),
        (["budget=laptop", "seed=1", "objective=alm"], "gemma_to_bytes"),
        (["experiment=smollm2_to_gpt2_tokenizer"], "smollm2_to_gpt2_tokenizer"),
        (["student=smollm2_135m"], "smollm2_135m_to_bytes"),
        (["student=smollm2_135m", "name=mine"], "mine"),
        (["tokenizer=qwen2", "embeddings=fvt"], "gemma3_270m_to_qwen2"),
        (HUB, "My-Model_1.5b_to_bytes"),
        (["student.source.sources.package=null"], "gemma3_270m_to_bytes"),
        (
            ["experiment=gemma_to_smollm2_tokenizer", "student=qwen2_5_coder_0_5b"],
            "qwen2_5_coder_0_5b_to_smollm2",
        ),
        (["teacher=qwen2_5_coder_0_5b", *OWN], "qwen2_5_coder_0_5b_to_gemma3_270m"),
        (["student=smollm2_135m", *OWN], "smollm2_135m_to_smollm2_135m"),
        # a store has no name yet: the settings are refused later, by what they lack
        (
            ["experiment=smollm2_draft_for_qwen", "teacher=scores"],
            "smollm2_135m_to_teacher",
        ),
        (["teacher=hub", "teacher.source.hub_id=org/large"], "large_to_gemma3_270m_bytes"),
        (["tokenizer=folder", "tokenizer.source.path='~/my tokens/'"], "gemma3_270m_to_my_tokens"),
        (["tokenizer=hub", "tokenizer.source.weights.hub_id=a/b"], "gemma3_270m_to_b"),
        (["student=folder", "student.source.path=2024"], "2024_to_bytes"),
        # a path that was not given: the run will say so
        (["student=folder"], "folder_to_bytes"),
        (["teacher=hub"], "hub_to_gemma3_270m_bytes"),
        (["student=folder", "student.source.path=models/2024/"], "models_to_bytes"),
        (["tokenizer=folder", "tokenizer.source.path='!!'"], "gemma3_270m_to_folder"),
        # the models stay what the experiment makes them
        (["student.dtype=float32", "tokenizer.special_tokens=replace"], "gemma_to_bytes"),
    ],
)
def test_names(overrides, name):
    assert named(*overrides) == name


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("small/teacher", "teacher"),
        ("/data/模型", "模型"),
        ("outputs/gemma_to_bytes/2026-11-27_19-47-41/model", "gemma_to_bytes"),
        ("outputs/gemma_to_bytes/2026-11-27_19-47-41-2", "gemma_to_bytes"),
        ("../..", "folder"),
        ("model", "model"),
    ],
)
def test_a_folder_is_called_by_the_last_part_that_tells(path, label):
    assert named("student=folder", f"student.source.path='{path}'") == f"{label}_to_bytes"


def test_an_experiment_of_ones_own_is_called_by_its_file(tmp_path):
    (tmp_path / "experiment").mkdir()
    file = tmp_path / "experiment" / "mine.yaml"
    file.write_text("# @package _global_\nseed: 1\n", encoding="utf-8")
    own = ["experiment=mine", f"hydra.searchpath=[file://{tmp_path}]"]
    assert named(*own) == "mine"
    assert named(*own, "student=smollm2_135m") == "smollm2_135m_to_bytes"


@pytest.mark.parametrize(
    ("swept", "others", "name"),
    [
        (["student=smollm2_135m,qwen2_5_coder_0_5b"], [], "students_to_bytes"),
        (["student.source.path=a,b"], ["student=folder"], "students_to_bytes"),
        (["tokenizer=qwen2,gpt2"], ["embeddings=fvt"], "gemma3_270m_to_tokenizers"),
        (["teacher=smollm2_135m,hub"], OWN, "teachers_to_gemma3_270m"),
        (["seed=0,1"], ["student=smollm2_135m"], "smollm2_135m_to_bytes"),
        (["seed=0,1"], [], "gemma_to_bytes"),
        (["student=smollm2_135m,hub"], ["name=mine"], "mine"),
    ],
)
def test_names_of_sweeps(swept, others, name):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        # as Hydra does it, without what is swept
        cfg = compose("train", others, return_hydra_config=True)
    with read_write(cfg.hydra), open_dict(cfg.hydra):
        cfg.hydra.overrides.task = [*swept, *others]
    NameRun().on_multirun_start(cfg)
    assert cfg.name == name
    assert cfg.hydra.sweep.dir.startswith(f"multirun/{name}/")
