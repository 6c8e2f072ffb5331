"""What a run is called when nobody names it."""

import pytest
from hydra import compose, initialize_config_dir
from tests.config.conftest import CONF

from alm_lightning.app.hydra_callbacks import NameRun

HUB = ["student=hub", "student.source.hub_id=org/My-Model_1.5b"]
OWN = ["tokenizer=own", "embeddings=own"]


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
        (["teacher=hub", "teacher.source.hub_id=org/large"], "large_to_gemma3_270m_bytes"),
        (["tokenizer=folder", "tokenizer.source.path='~/my tokens/'"], "gemma3_270m_to_my_tokens"),
        (["tokenizer=hub", "tokenizer.source.weights.hub_id=a/b"], "gemma3_270m_to_b"),
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
