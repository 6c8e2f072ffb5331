"""BLiMP accuracy, against sums over whole sentences."""

import gzip
import json

import pytest
import torch

from alm_lightning.corpus.document import CorpusError
from alm_lightning.evaluation.suites.blimp import Blimp

PAIRS = [
    ("agreement", "morphology", "The quick fox jumps.", "The quick fox jump."),
    ("agreement", "morphology", "A statement is executed.", "A statement are executed."),
    ("agreement", "morphology", "It costs 12.", "It cost 12."),
    ("islands", "syntax", "Who is it?", "Who is it that?"),
    ("islands", "syntax", "The same words.", "The same words."),
    ("islands", "syntax", "Dog bites man.", "man bites Dog."),
]


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "pairs.jsonl.gz"
    columns = ("UID", "linguistics_term", "sentence_good", "sentence_bad")
    with gzip.open(path, "wt", encoding="utf-8") as file:
        for pair in PAIRS:
            file.write(json.dumps(dict(zip(columns, pair, strict=True))) + "\n")
    return path


def sentence_nats(evaluated, text):
    ids = torch.tensor([[evaluated.view.start_id, *evaluated.view.encode(text).ids.tolist()]])
    with torch.no_grad():
        logprobs = evaluated.model(input_ids=ids).logits[0].double().log_softmax(-1)
    return float(logprobs[:-1].gather(1, ids[0, 1:, None]).sum())


@pytest.mark.parametrize("name", ["bytes", "gemma"])
def test_differences_are_those_of_whole_sentences(evaluated_models, data, name):
    evaluated = evaluated_models[name]
    harness = Blimp(path=str(data), pairs=None)
    records = dict(harness.records(evaluated, harness.prepare()))
    expected = [sentence_nats(evaluated, g) - sentence_nats(evaluated, b) for _, _, g, b in PAIRS]
    found = [record["difference_nats"] for record in records.values()]
    assert found == pytest.approx(expected, abs=1e-4)
    result = harness.result(records)
    right = [value > 1e-6 for value in expected]
    assert result.figures["accuracy"].value == pytest.approx(sum(right) / len(right))
    by_phenomenon = result.groups["phenomenon"]
    assert by_phenomenon["agreement"]["accuracy"].value == pytest.approx(sum(right[:3]) / 3)
    assert by_phenomenon["islands"]["accuracy"].count == 3
    assert set(result.groups["term"]) == {"morphology", "syntax"}


def test_two_sentences_alike_are_a_tie_and_a_tie_is_wrong(evaluated_models, data):
    harness = Blimp(path=str(data), pairs=None)
    keys = [key for key in harness.prepare() if key.startswith("islands:1:")]
    [(key, record)] = harness.records(evaluated_models["gemma"], keys)
    assert record["difference_nats"] == 0.0
    assert harness.result({key: record}).figures["accuracy"].value == 0.0


def test_the_first_pairs_of_each_phenomenon_are_taken(data):
    keys = Blimp(path=str(data), pairs=1).prepare()
    assert [key.rpartition(":")[0] for key in keys] == ["agreement:0", "islands:0"]


def test_another_pair_in_the_same_place_has_another_key(data):
    with gzip.open(data, "rt", encoding="utf-8") as file:
        text = file.read()
    before = Blimp(path=str(data), pairs=None).prepare()
    with gzip.open(data, "wt", encoding="utf-8") as file:
        file.write(text.replace("jump.", "jumped."))
    after = Blimp(path=str(data), pairs=None).prepare()
    assert [old == new for old, new in zip(before, after, strict=True)] == [False] + [True] * 5


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[1]", r"found \[1\]; expected minimal pairs"),
        ("{not json", "not JSON"),
        ('{"UID": "a", "sentence_good": "x"}', "linguistics_term, sentence_bad"),
        ("", "holds no pairs"),
    ],
)
def test_a_file_that_holds_no_pairs_is_refused(tmp_path, line, said):
    path = tmp_path / "pairs.jsonl"
    path.write_text(line + "\n", "utf-8")
    with pytest.raises(CorpusError, match=said):
        Blimp(path=str(path), pairs=None).prepare()


def test_a_missing_file_and_no_pairs_are_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"harness\.blimp\.path"):
        Blimp(path=str(tmp_path / "none.jsonl"), pairs=None).prepare()
    with pytest.raises(ValueError, match="at least 1"):
        Blimp(path="x", pairs=0)
