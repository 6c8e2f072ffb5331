"""Settings of an endpoint that no run could use are refused; none of them is a key."""

import pytest

from alm_lightning.scores.server.client import Client
from alm_lightning.scores.server.settings import ServerSettings

URL = "http://127.0.0.1:8000/v1"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"url": "127.0.0.1:8000"}, "base of an endpoint"),
        ({"dialect": "openai"}, "must be one of auto, vllm"),
        ({"concurrency": 0}, "concurrency must be 1 or more; got 0"),
        ({"top": 0}, "top must be 1 or more"),
        ({"retries": -1}, "retries must be 0 or more"),
        ({"timeout": 0.0}, "in seconds, and above 0"),
        ({"keep_top": 30}, "can't be kept of the 20"),
    ],
)
def test_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        ServerSettings(**({"url": URL} | settings))


@pytest.mark.parametrize("url", ["http://me:secret@host/v1", "http://host/v1?key=secret"])
def test_a_key_in_the_url_is_refused_unseen(url):
    with pytest.raises(ValueError, match="OPENAI_API_KEY") as caught:
        ServerSettings(url=url)
    assert "secret" not in str(caught.value)


def test_the_base_of_an_endpoint():
    assert ServerSettings(url="http://host:8000").base_url == "http://host:8000/v1"
    assert ServerSettings(url="http://host:8000/").base_url == "http://host:8000/v1"
    assert ServerSettings(url="https://host/api/v1/").base_url == "https://host/api/v1"
    assert ServerSettings(url="https://host/api/v1").root_url == "https://host"


@pytest.mark.parametrize(
    ("url", "in_clear"), [(URL, False), ("http://host/v1", True), ("https://host/v1", False)]
)
def test_a_key_without_encryption(url, in_clear, monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret")
    settings = ServerSettings(url=url, key_variable="MY_KEY")
    assert settings.sends_key_in_clear == in_clear
    assert "secret" not in repr(settings)
    monkeypatch.delenv("MY_KEY")
    assert not settings.sends_key_in_clear


def test_without_its_package(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"alm-lightning\[server\]"):
        Client(ServerSettings(url=URL))
