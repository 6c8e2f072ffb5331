"""Files and folders that documents name are there."""

import re

import pytest
from tests.config.documented import DOCUMENTS, name_of, read
from tests.runs import REPOSITORY

NAMED = re.compile(r"`((?:[a-z_]+/)+(?:[a-z_0-9]+\.(?:py|yaml|ipynb|md))?|[a-z_]+\.py)`")
ROOTS = (REPOSITORY, REPOSITORY / "src" / "alm_lightning")
MADE = ("answers/", "checkpoints/", "model/", "multirun/", "outputs/", "site/")
"""Folders that runs make."""
YOURS = (
    "src/alm_lightning/objectives/squared.py",
    "conf/objective/squared.yaml",
    "conf/corpus/mine.yaml",
    "mine/",
)
"""Files that a reader is told to write."""
HISTORY = ("CHANGELOG.md", "docs/results/")
"""What they say was so at its time."""
FIGURES = re.compile(r"(?:train|val|chunks|speed|org)/")


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_paths_of_a_document_are_there(path):
    if name_of(path).startswith(HISTORY):
        pytest.skip("a record of its time")
    named = {
        name
        for name in NAMED.findall(read(path))
        if not name.startswith((*MADE, *YOURS)) and not FIGURES.match(name)
    }
    missing = [name for name in named if not any((root / name).exists() for root in ROOTS)]
    assert missing == []
