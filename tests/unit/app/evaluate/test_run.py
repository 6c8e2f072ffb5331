"""What the figures of a run depend on, beside the model that it left."""

import shutil

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tests.runs import REPOSITORY

from alm_lightning.app.evaluate.run import RunFigures


@pytest.fixture
def run_folder(tmp_path, tiny, texts, model_folder):
    """The configuration of a run, its text and its teacher, to change."""
    run = tmp_path / "run"
    (run / ".hydra").mkdir(parents=True)
    shutil.copytree(model_folder, tmp_path / "teacher")
    for file in texts.values():
        shutil.copy(file, tmp_path)
    own = [
        *tiny,
        f"student.source.path={tmp_path / 'teacher'}",
        f"corpus.source.path={tmp_path / texts['corpus'].name}",
        f"corpus_other.source.path={tmp_path / texts['corpus_other'].name}",
        f"paths.output_dir={run}",
    ]
    with initialize_config_dir(version_base="1.3", config_dir=str(REPOSITORY / "conf")):
        OmegaConf.save(compose("train", own), run / ".hydra" / "config.yaml")
    return run


def test_settings_text_and_teacher_of_a_run_are_noticed(run_folder, texts):
    def basis():
        return RunFigures().basis("model", run_folder)

    first = basis()
    assert basis() == first
    assert set(first["text"]) == {"train", "heldout", "other"}
    config = run_folder / ".hydra" / "config.yaml"
    config.write_text(config.read_text("utf-8").replace("steps: 3", "steps: 4"), "utf-8")
    second = basis()
    assert second == {**first, "configuration": second["configuration"]}
    assert second["configuration"] != first["configuration"]
    other = run_folder.parent / texts["corpus_other"].name
    other.write_text(other.read_text("utf-8").replace("first", "second"), "utf-8")
    third = basis()
    assert third["text"]["other"] != second["text"]["other"]
    assert {**third["text"], "other": None} == {**second["text"], "other": None}
    weights = run_folder.parent / "teacher" / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")
    assert basis()["teacher"] != third["teacher"]


def test_a_model_of_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="ensemble lies in no run's folder"):
        RunFigures().basis("ensemble", None)
    with pytest.raises(FileNotFoundError, match=r"no \.hydra/config\.yaml"):
        RunFigures().basis("model", tmp_path)
