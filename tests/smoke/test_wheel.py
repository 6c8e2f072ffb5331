"""The wheel alone: the configuration and the templates are in it, and its programs find them."""

import os
import subprocess
import sys
import zipfile

import pytest
from tests.runs import REPOSITORY

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder)]
    # pip's own environment for the build
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run([*build, str(REPOSITORY)], check=True, env=environment, timeout=600)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_has_all_that_is_read_at_run_time(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (points,) = (name for name in names if name.endswith("entry_points.txt"))
        scripts = archive.read(points).decode()
    expected = {
        f"alm_lightning/{file.relative_to(REPOSITORY).as_posix()}"
        for file in (REPOSITORY / "conf").rglob("*.yaml")
    }
    source = REPOSITORY / "src"
    expected |= {
        file.relative_to(source).as_posix()
        for file in (source / "alm_lightning").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert expected <= names
    for name in ("train", "evaluate", "inspect", "bias", "gguf", "sweep-page", "workspace"):
        assert f"alm-{name} = " in scripts


@pytest.mark.parametrize(
    ("module", "arguments", "said"),
    [
        ("app.train", ["--help"], "Configuration groups"),
        ("app.train", ["--cfg", "job", "budget.steps=7"], "steps: 7"),
        ("app.train", ["--config-dir", "own", "experiment=mine", "--cfg", "job"], "seed: 11"),
        ("app.evaluate", ["model=x", "--cfg", "job"], "path: x"),
        ("inspect", ["a text", "--student", "bytes", "--teacher", "bytes"], "chunks"),
    ],
)
def test_programs_of_the_wheel_run_anywhere(wheel, tmp_path, module, arguments, said):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    experiment = tmp_path / "own" / "experiment" / "mine.yaml"
    experiment.parent.mkdir(parents=True)
    experiment.write_text("# @package _global_\nseed: 11\n", encoding="utf-8")
    # untraced: the lines of the copy are not those of src/
    kept = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
    # the package of the wheel comes before an editable one
    environment = kept | {"PYTHONPATH": str(tmp_path / "site")}
    process = subprocess.run(
        [sys.executable, "-m", f"alm_lightning.{module}", *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert said in process.stdout
