"""Tiny models, ready to be evaluated."""

import pytest
from tests.conftest import SENTENCES, tiny_gemma3

from alm_lightning.corpus.document import Document
from alm_lightning.evaluation.evaluated_model import EvaluatedModel


class Listed:
    """A corpus of given documents."""

    def __init__(self, documents):
        self.given = list(documents)

    def documents(self, on_bad=None):
        yield from self.given


def evaluated_of(model, view, name="tiny"):
    return EvaluatedModel(name, model, view, described=name, stop_ids=(view.roles["eos"],))


@pytest.fixture
def evaluated_models(scorers):
    """A tiny byte model and a tiny Gemma 3."""
    student, teacher = scorers
    return {
        "bytes": evaluated_of(student.model.eval(), student.view, "bytes"),
        "gemma": evaluated_of(teacher.model, teacher.view, "gemma"),
    }


@pytest.fixture
def short_context(metaspace_view):
    """A model that reads 24 tokens at most."""
    model = tiny_gemma3(metaspace_view.num_tokens, max_position_embeddings=24)
    return evaluated_of(model, metaspace_view, "short")


@pytest.fixture
def sentences():
    return Listed(
        Document(text, name=str(place), group="code" if "def" in text else "prose")
        for place, text in enumerate(SENTENCES)
    )
