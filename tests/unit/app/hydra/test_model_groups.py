"""Models of one's own, in a folder of --config-dir."""

import subprocess
import sys

import pytest
import yaml
from tests.runs import REPOSITORY


def composed(folder, *arguments):
    """What the program would run, as it prints it itself: Hydra's store is one of a process."""
    command = [sys.executable, str(REPOSITORY / "train.py"), f"--config-dir={folder}"]
    printed = subprocess.run(
        [*command, "--cfg", "job", *arguments], capture_output=True, text=True, check=False
    )
    assert printed.returncode == 0, printed.stderr
    return yaml.safe_load(printed.stdout)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.mark.slow
def test_a_model_is_one_file(tmp_path):
    text = (REPOSITORY / "conf/model/smollm2_135m.yaml").read_text(encoding="utf-8")
    write(tmp_path / "model/own.yaml", text)
    cfg = composed(tmp_path, "student=own", "teacher=own")
    built_in = composed(tmp_path, "student=smollm2_135m", "teacher=smollm2_135m")
    assert cfg["student"] == built_in["student"]
    assert cfg["teacher"] == built_in["teacher"]


@pytest.mark.slow
def test_a_student_with_the_name_of_a_model(tmp_path):
    write(tmp_path / "student/smollm2_135m.yaml", "defaults: [/model/smollm2_135m@_here_]\nx: 1\n")
    assert composed(tmp_path, "student=smollm2_135m")["student"]["x"] == 1
    # the group of the teacher has the model as before
    assert "x" not in composed(tmp_path, "teacher=smollm2_135m")["teacher"]
