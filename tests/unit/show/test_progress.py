import io
import logging

from rich.console import Console

from alm_lightning.show.progress import progress_bars, with_progress


def test_a_terminal_gets_a_bar_for_each_stage():
    shown = io.StringIO()
    with progress_bars(Console(file=shown, force_terminal=True, width=80)) as report:
        report("counting", 1, 2)
        report("counting", 2, 2)
        report("weighing", 0, 3)
    assert "counting" in shown.getvalue()
    assert "2/2" in shown.getvalue()
    assert "0/3" in shown.getvalue()


def test_a_file_gets_nothing():
    shown = io.StringIO()
    with progress_bars(Console(file=shown)) as report:
        report("counting", 1, 2)
    assert shown.getvalue().strip() == ""


def test_a_log_gets_ten_lines_and_the_items_are_unchanged(caplog):
    caplog.set_level(logging.INFO)
    items = list(range(40, 100))
    assert list(with_progress(items, "items", 100, done=40)) == items
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "items: 40 of 100 were done by an earlier call"
    assert lines[1:] == [f"items: {number} of 100" for number in range(50, 101, 10)]
