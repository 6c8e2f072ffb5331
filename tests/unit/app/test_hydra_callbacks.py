import json

import pytest

from alm_lightning.app.hydra_callbacks import markdown, sweep_rows


@pytest.fixture
def sweep(tmp_path):
    def write(**per_step):
        for name, seconds in per_step.items():
            (tmp_path / name).mkdir()
            summary = {
                "overrides": ["seed=0", f"name={name}"],
                "bits_per_byte": {"teacher": 1.0, "student_before": 4.0, "student_after": 2.0},
                "bits_per_byte_other": {"student_after": 3.0},
                "chunk_difference": {"after": 0.5, "after_other": 0.75},
                "seconds": {"per_step": seconds},
            }
            (tmp_path / name / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["10", "2", "0"], ["0", "2", "10"]),
        (["b", "a"], ["a", "b"]),
        (["seed_1", "10", "2", "\N{SUPERSCRIPT TWO}"], None),
    ],
)
def test_rows_are_in_the_order_of_the_runs(sweep, names, order):
    rows = sweep_rows(sweep(**dict.fromkeys(names, 1.5)))
    found = [row["overrides"].removeprefix("name=") for row in rows]
    assert found == order or (order is None and sorted(found) == sorted(names))


def test_a_run_that_timed_nothing(sweep):
    lines = markdown(sweep_rows(sweep(a=None, b=1.5))).splitlines()
    assert lines[2].endswith("| - |")
    assert lines[3].endswith("| 1.500 |")


def test_every_figure_has_its_column(sweep):
    (row,) = sweep_rows(sweep(a=1.5))
    assert row == {
        "overrides": "",
        "bpb teacher": 1.0,
        "bpb before": 4.0,
        "bpb after": 2.0,
        "bpb after, other domain": 3.0,
        "chunk difference (nats)": 0.5,
        "chunk difference, other domain": 0.75,
        "s a step": 1.5,
    }
