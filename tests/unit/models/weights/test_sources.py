import logging

import pytest

from alm_lightning.models.weights import sources
from alm_lightning.models.weights.sources import FirstAvailable, Folder, Hub, Location


class TestHub:
    def test_is_at_hand_while_the_hub_is_on(self, monkeypatch):
        monkeypatch.setattr(sources.constants, "HF_HUB_OFFLINE", False)
        assert Hub(hub_id="owner/model", revision=None).available() is None

    def test_offline_needs_the_cache(self, monkeypatch):
        monkeypatch.setattr(sources.constants, "HF_HUB_OFFLINE", True)
        hub = Hub(hub_id="owner/model-that-nobody-fetched", revision=None)
        assert "HF_HUB_OFFLINE is set and owner/model-that-nobody-fetched" in hub.available()
        monkeypatch.setattr(sources, "try_to_load_from_cache", lambda *_, **__: "/a/config.json")
        assert hub.available() is None

    def test_location_and_description(self):
        hub = Hub(hub_id="owner/model", revision="v1")
        assert hub.resolve() == Location("owner/model", "v1")
        assert hub.describe() == "hub model owner/model (revision v1)"


class TestFolder:
    def test_is_at_hand_with_its_configuration(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "config.json").write_text("{}", encoding="utf-8")
        folder = Folder(path="~/model")
        assert folder.available() is None
        assert folder.resolve() == Location(str(tmp_path / "model"))

    def test_says_what_is_needed_and_what_is_there(self, tmp_path):
        (tmp_path / "weights.bin").touch()
        with pytest.raises(FileNotFoundError, match=r"no config.json.*tokenizer.json.*weights.bin"):
            Folder(path=str(tmp_path)).resolve()

    def test_missing(self, tmp_path):
        with pytest.raises(
            FileNotFoundError, match=r"there is no folder .*none.*model.safetensors"
        ):
            Folder(path=str(tmp_path / "none")).resolve()

    def test_what_looks_like_a_hub_id(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        told = "student=hub student.source.hub_id=google/gemma-3-270m, and likewise for a teacher"
        assert told in Folder(path="google/gemma-3-270m").available()
        for path in ("models/of/mine", str(tmp_path / "none")):
            assert "student=hub" not in Folder(path=path).available()


class TestFirstAvailable:
    def folder(self, path):
        path.mkdir()
        (path / "config.json").write_text("{}", encoding="utf-8")
        return Folder(path=str(path))

    def test_the_first_that_has_them(self, tmp_path, caplog):
        caplog.set_level(logging.INFO)
        first = FirstAvailable(
            sources={
                "off": None,
                "missing": Folder(path=str(tmp_path / "none")),
                "here": self.folder(tmp_path / "here"),
                "later": self.folder(tmp_path / "later"),
            }
        )
        assert first.available() is None
        location = first.resolve()
        assert location.path == str(tmp_path / "here")
        assert "missing: there is no folder" in location.passed_over[0]
        assert "Weights from here" in caplog.text
        assert "not from missing" in caplog.text

    def test_one_error_lists_all_reasons(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sources.constants, "HF_HUB_OFFLINE", True)
        first = FirstAvailable(
            sources={
                "folder": Folder(path=str(tmp_path / "none")),
                "hub": Hub(hub_id="owner/model-that-nobody-fetched", revision=None),
            }
        )
        assert "hub: HF_HUB_OFFLINE" in first.available()
        with pytest.raises(
            FileNotFoundError, match=r"(?s)- folder: there is no.*- hub: HF_HUB_OFF"
        ):
            first.resolve()

    @pytest.mark.parametrize("none", [{}, {"hub": None}])
    def test_needs_one(self, none):
        with pytest.raises(ValueError, match="at least one source"):
            FirstAvailable(sources=none)
