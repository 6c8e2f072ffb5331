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
        (
            "tokenizer=models/tok.json",
            ["tokenizer=folder", "tokenizer.source.path='models/tok.json'"],
        ),
        # an option of one's own in a folder of its group
        ("student=family/small", ["student=family/small"]),
        ("--config-dir=~/mine", ["--config-dir=/home/me/mine"]),
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
    (tmp_path / "models" / "tok.json").touch()
    (tmp_path / "conf" / "model" / "family").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "family" / "small.yaml").touch()
    assert place_arguments([given], tmp_path / "conf") == expected
    if given != expected[0] and not given.startswith("-"):
        values = [o.value() for o in OverridesParser.create().parse_overrides(expected)]
        assert not any("~" in str(value) for value in values)


def test_options_of_a_folder_of_ones_own(tmp_path):
    (tmp_path / "tokenizer" / "mine").mkdir(parents=True)
    (tmp_path / "tokenizer" / "mine" / "a.yaml").touch()
    arguments = ["--config-dir", str(tmp_path), "tokenizer=mine/a"]
    assert place_arguments(arguments, tmp_path / "conf") == arguments
    assert place_arguments(arguments[2:], tmp_path / "conf")[0] == "tokenizer=hub"
