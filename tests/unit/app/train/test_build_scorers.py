"""What is told of a student and a teacher when they are loaded."""

import json
import logging
import shutil

import pytest
from hydra import compose, initialize_config_dir
from tests.runs import REPOSITORY

from alm_lightning.app.train.build import build_scorers

EOS = "<0xC3>"


@pytest.fixture
def without_accents(model_folder, tmp_path):
    """The tiny model, with half of each accented letter of Latin for its EOS."""
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    file = folder / "tokenizer_config.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(content | {"eos_token": EOS}), encoding="utf-8")
    return folder


def scorers_of(folder, *overrides):
    given = [f"student.source.path={folder}", "student=folder", "trainer=cpu", *overrides]
    with initialize_config_dir(version_base="1.3", config_dir=str(REPOSITORY / "conf")):
        return build_scorers(compose("train", given))


def test_texts_that_the_pair_cannot_cover_are_told_at_load(without_accents, caplog):
    with caplog.at_level(logging.WARNING):
        scorers_of(without_accents)
    (message,) = [
        r.getMessage() for r in caplog.records if r.name == "alm_lightning.app.train.build"
    ]
    assert "have no chunk for parts of texts like these" in message
    assert "accents: 8 of 20 bytes of 'café Größe naïve'" in message


def test_nothing_is_told_of_a_pair_that_covers_all(model_folder, caplog):
    with caplog.at_level(logging.WARNING):
        scorers_of(model_folder)
    assert not [
        record for record in caplog.records if record.name == "alm_lightning.app.train.build"
    ]
