import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from alm_lightning.app.hydra.arguments import place_arguments


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("student=smollm2_135m", ["student=smollm2_135m"]),
        ("student=/a/b c", ["student=folder", "student.source.path='/a/b c'"]),
        ("teacher=./it's", ["teacher=./it's"]),
        ("teacher=../b", ["teacher=folder", "teacher.source.path='../b'"]),
        ("tokenizer=~/t", ["tokenizer=folder", "tokenizer.source.path='/home/me/t'"]),
        ("student=org/name-1.5", ["student=hub", "student.source.hub_id='org/name-1.5'"]),
        ("tokenizer=o/n", ["tokenizer=hub", "tokenizer.source.weights.hub_id='o/n'"]),
        # a folder of two parts is a folder before it is an id
        ("student=models/mine", ["student=folder", "student.source.path='models/mine'"]),
        # sweeps, lists and quoted values are for Hydra
        ("student=/a,/b", ["student=/a,/b"]),
        ("student='a/b'", ["student='a/b'"]),
        ("corpus.source.path=~/x.jsonl", ["corpus.source.path='/home/me/x.jsonl'"]),
        ("corpus.source.path=[~/x,y]", ["corpus.source.path=[~/x,y]"]),
        ("~objective.next_token", ["~objective.next_token"]),
        ("student=", ["student="]),
        ("--multirun", ["--multirun"]),
    ],
)
def test_places_of_models_are_spelled_out(given, expected, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "mine").mkdir(parents=True)
    assert place_arguments([given]) == expected
    if given != expected[0]:
        values = [o.value() for o in OverridesParser.create().parse_overrides(expected)]
        assert not any("~" in str(value) for value in values)
