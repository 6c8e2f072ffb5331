"""Runs of the default objective: the next byte, of byte students and of subword students."""

import csv
import json

import pytest
from hydra.errors import InstantiationException

# whole runs
pytestmark = pytest.mark.slow

ALM = ("objective", "objective.alm.threshold")
"""What the tiny run says of another objective."""


def losses(folder):
    """The value of each step."""
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("train/next_byte")]
    return [float(row["train/next_byte"]) for row in rows]


@pytest.fixture
def subword(byte_level_tokenizer, tmp_path):
    folder = tmp_path / "byte-level"
    byte_level_tokenizer.save_pretrained(folder)
    return ["tokenizer=folder", f"tokenizer.source.path={folder}", "embeddings=fvt"]


@pytest.mark.parametrize("end", ["drop", "boundary"])
def test_a_byte_student_learns(run_here, tmp_path, end):
    summary = run_here(
        f"objective.next_byte.end={end}",
        "budget.steps=12",
        "budget.learning_rate=1e-2",
        without=ALM,
    )
    found = losses(tmp_path)
    assert len(found) == 12
    assert min(found[-3:]) < 0.9 * found[0]
    figures = summary["bits_per_byte"]
    assert figures["student_after"] < figures["student_before"]
    config = json.loads((tmp_path / "summary.json").read_text())["bits_per_byte"]
    assert config == figures


@pytest.mark.parametrize("positions", ["token_starts", "every_byte"])
def test_a_subword_student_learns(run_here, subword, tmp_path, positions):
    run_here(
        *subword,
        f"objective.next_byte.positions={positions}",
        "budget.steps=12",
        "budget.learning_rate=1e-2",
        without=ALM,
    )
    found = losses(tmp_path)
    assert min(found[-3:]) < 0.9 * found[0]


def test_a_setting_that_does_not_exist(run_here):
    with pytest.raises(InstantiationException, match=r"objective\.next_byte\.end is 'keep'"):
        run_here("objective.next_byte.end=keep", without=ALM)
