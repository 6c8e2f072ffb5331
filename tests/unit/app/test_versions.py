import importlib.metadata

from alm_lightning.app import versions as versions_module
from alm_lightning.app.versions import PACKAGES, versions


def test_versions_of_what_a_run_depends_on():
    found = versions()
    assert set(found) == {"python", *PACKAGES}
    assert found["torch"] == importlib.metadata.version("torch")


def test_a_checkout_that_is_not_installed_has_versions_too(monkeypatch):
    monkeypatch.setattr(versions_module, "PACKAGES", ("torch", "no-such-package-of-anybody"))
    assert versions()["no-such-package-of-anybody"] == "not installed"
