"""How much each of several teachers counts."""

import pytest

from alm_lightning.corpus.chat import Chat
from alm_lightning.corpus.document import Document
from alm_lightning.data.teacher_weights import TeacherWeights


@pytest.fixture
def documents():
    return [Document("some text", name=str(n), group=group) for n, group in enumerate(["de", "en"])]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1], "has 1 weights.*2 teachers: a, b"),
        ([1, -1], "weight of b is -1"),
        ([0, 0], "above 0 among them"),
        ([1, 0], "teaches nothing"),
        ([1, "x"], "weight of b is 'x'"),
        ([1, float("nan")], "weight of b is nan"),
        ("1,2", "expected a list of 2 numbers"),
        ({}, "is empty"),
        ({"de": [1]}, "weights of de has 1 weights"),
        ({"de": [0, 0]}, "above 0 among them"),
        ({"de": [1, 0], "en": [2, 0]}, "gives b 0 for every value"),
    ],
)
def test_bad_weights(value, message):
    with pytest.raises(ValueError, match=message):
        TeacherWeights.of(value, ["a", "b"])


def test_weights_of_another_corpus(documents):
    weights = TeacherWeights.of({"de": [1, 0], "en": [1, 1]}, ["a", "b"])
    weights.check(documents)
    assert weights.of_group("de") == (1.0, 0.0)
    assert weights.of_group("en") == weights.of_group(None) == (0.5, 0.5)
    plain = [Document("some text", name="plain")]
    chat = [Chat.of([{"role": "user", "content": "x"}], "chat")]
    for lacking in (plain, chat, iter(plain)):
        with pytest.raises(ValueError, match=r"group_column=lang"):
            weights.check(lacking)
    with pytest.raises(ValueError, match="none for fr"):
        weights.check([*documents, Document("x", name="x", group="fr")])
    with pytest.raises(ValueError, match="has en, which is no value"):
        weights.check([document for document in documents if document.group == "de"])
