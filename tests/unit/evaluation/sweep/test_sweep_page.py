"""The page of a sweep, from folders as runs leave them."""

import json
import re

import pytest

from alm_lightning.app.commands import sweep_page as command
from alm_lightning.evaluation.sweep import PAGE, read_sweep, sweep_page, write_sweep_page

HOSTILE = "</style><script>alert(1)</script>"
FIGURES = "bits per byte ↓"


@pytest.fixture
def sweep(tmp_path):
    """Writes a run: its overrides, its figure if it has one, and its error if it failed."""

    def write(run, *overrides, figure=None, error=None, pruned=None):
        folder = tmp_path / "pair" / "search" / str(run)
        folder.mkdir(parents=True)
        if error is not None:
            said = {"overrides": list(overrides), "error": error}
            (folder / "failure.json").write_text(json.dumps(said), encoding="utf-8")
        if figure is not None:
            summary = {
                "overrides": list(overrides),
                "steps": pruned or 1200,
                "bits_per_byte": {"student_after": figure, "teacher": 1.0},
                "chunk_difference": {"after": 0.5},
                "seconds": {"per_step": None},
            }
            (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
            (folder / "metrics.csv").write_text(
                "epoch,step,train/loss,val/heldout/bits_per_byte_student\n"
                f"0,0,,4.0\n0,0,2.5,\n0,1,1.5,\n1,2,,{figure}\n",
                encoding="utf-8",
            )
        if pruned is not None:
            (folder / "pruned.json").write_text(json.dumps({"step": pruned}), encoding="utf-8")
        return folder.parent

    return write


def test_the_best_run_comes_first_and_failed_ones_last(sweep):
    for run, figure in ((0, 2.5), (1, 1.5), (10, 2.5), (2, 2.5)):
        folder = sweep(run, "seed=0", f"rate={figure}", figure=figure)
    sweep(3, "seed=0", "rate=-1", error="ValueError: rate")
    read = read_sweep(folder)
    assert [run.name for run in read.runs] == ["1", "0", "2", "10", "3"]
    assert [run.name for run in read.ranked] == ["1", "0", "2", "10"]
    assert (read.varied, read.shared) == (["rate"], {"seed": "0"})
    assert read.runs[0].figures == {FIGURES: 1.5, "|log p_T − log p_S| a chunk, nats ↓": 0.5}
    assert read.runs[-1].failure == "ValueError: rate"


def test_the_number_of_a_trial_is_no_setting(sweep):
    for run in (0, 1):
        folder = sweep(run, f"search.trial={run}", f"+a.b={run}", figure=1.0)
    assert read_sweep(folder).varied == ["a.b"]
    assert read_sweep(folder).shared == {}


def test_a_page_has_settings_figures_curves_and_errors(sweep):
    sweep(0, "rate=0.000590055211710", "kind=a", figure=1.5)
    sweep(1, "rate=0.001", "kind=b", figure=2.5, pruned=15)
    folder = sweep(2, "rate=0.002", "kind=b", error=f"ValueError: {HOSTILE}")
    html = sweep_page(read_sweep(folder))
    headings = re.findall(r"<h2 id=\"(.*?)\"", html)
    assert headings == ["settings", "best", "curves", "failed"]
    assert "3, 1 of them failed" in html
    assert "run 0; rate=0.0005901, kind=a; bits per byte 1.500" in html
    assert "stopped early" in html
    assert "1,200" in html
    # one file, that loads nothing and runs nothing
    assert HOSTILE not in html
    assert "alert(1)" in html
    assert "<script" not in html
    assert not re.search(r"(?:src|href)=\"(?!#)", html)


def test_more_runs_than_the_table_has(sweep):
    for run in range(25):
        folder = sweep(run, f"rate={run + 0.5}", figure=1.0 + run)
    html = sweep_page(read_sweep(folder))
    assert "The other 5 runs" in html
    assert html.count('class="k0"') >= 1


@pytest.mark.parametrize("overrides", [[], ["seed=0"]])
def test_one_run_alone(sweep, overrides):
    html = sweep_page(read_sweep(sweep(0, *overrides, figure=1.5)))
    assert "run 0" in html


def test_a_sweep_whose_runs_all_failed(sweep):
    html = sweep_page(read_sweep(sweep(0, "seed=0", error="x")))
    assert re.findall(r"<h2 id=\"(.*?)\"", html) == ["failed", "shared"]


def test_a_folder_without_runs_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no run in .* has ended: expected folders with"):
        write_sweep_page(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_table_and_page_again(sweep, capsys):
    folder = sweep(0, "seed=0", figure=1.5)
    for _ in range(2):
        command.main([str(folder)])
        assert capsys.readouterr().out.split() == [str(folder / PAGE)]
    assert (folder / "sweep.md").is_file()
    assert (folder / PAGE).read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_wrong_folder_is_said_in_one_line(tmp_path, capsys, name):
    with pytest.raises(SystemExit) as ended:
        command.main([str(tmp_path / name)])
    assert ended.value.code == command.BAD_INPUT
    assert capsys.readouterr().err.startswith("error: no run in ")
    assert list(tmp_path.iterdir()) == []
