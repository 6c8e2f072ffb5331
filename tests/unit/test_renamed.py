"""Class paths of earlier versions lead to classes of today."""

import json
from importlib import import_module

import pytest

from alm_lightning.evaluation.store import RECORDS, SETTINGS, Store
from alm_lightning.renamed import PACKAGE, RENAMED, with_current_names
from alm_lightning.training.resume import check_continued

TEXT = "alm_lightning.corpus.files.TextFile"


@pytest.mark.parametrize("path", RENAMED.values())
def test_every_name_of_today_is_there(path):
    module, _, name = (PACKAGE + path).rpartition(".")
    assert callable(getattr(import_module(module), name))


@pytest.mark.parametrize("path", RENAMED)
def test_no_name_of_before_is_there(path):
    module, _, name = (PACKAGE + path).rpartition(".")
    with pytest.raises((ImportError, AttributeError)):
        getattr(import_module(module), name)


def test_a_saved_configuration():
    saved = {
        "corpus": {"source": {"_target_": TEXT, "path": TEXT + "/x"}},
        "windows": {
            "documents": {
                "_target_": "alm_lightning.corpus.reading.Kept",
                "shelf": {"_target_": "alm_lightning.corpus.shelf.InMemory"},
            }
        },
        "list": ["alm_lightning.models.sources.Hub", 3, None],
        "shelf": "mine",
    }
    assert with_current_names(saved) == {
        "corpus": {
            "source": {
                "_target_": "alm_lightning.corpus.sources.files.TextFile",
                "path": TEXT + "/x",
            }
        },
        "windows": {
            "documents": {
                "_target_": "alm_lightning.corpus.reading.Stored",
                "store": {"_target_": "alm_lightning.corpus.document_store.InMemory"},
            }
        },
        "list": ["alm_lightning.models.weights.sources.Hub", 3, None],
        "shelf": "mine",
    }


def test_a_run_of_before_is_continued():
    now = {
        "corpus": {"source": {"_target_": PACKAGE + RENAMED["corpus.files.TextFile"]}},
        "seed": 1,
    }
    before = {"corpus": {"source": {"_target_": TEXT}}, "seed": 1}
    check_continued(before, now)
    with pytest.raises(ValueError, match="seed: 2 then, 1 now"):
        check_continued(before | {"seed": 2}, now)


def test_an_evaluation_of_before_is_continued(tmp_path):
    (tmp_path / RECORDS).write_text(json.dumps({"key": "a", "x": 1}) + "\n", encoding="utf-8")
    before = {"harness": {"_target_": "alm_lightning.evaluation.blimp.Blimp"}}
    (tmp_path / SETTINGS).write_text(json.dumps(before), encoding="utf-8")
    now = {"harness": {"_target_": "alm_lightning.evaluation.suites.blimp.Blimp"}}
    assert set(Store(tmp_path, now).records) == {"a"}
