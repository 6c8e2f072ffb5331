"""What a rate may be chosen by is what a run leaves."""

from alm_lightning.app.bakeoff.checks import CRITERIA
from alm_lightning.app.bakeoff.figures import selected


def test_every_criterion_is_a_figure_of_a_run(run_here, tmp_path):
    # its file has weights of terms that this objective lacks
    summary = run_here(f"paths.output_dir={tmp_path / 'run'}", "balance=fixed")
    found = {criterion: selected(summary, criterion) for criterion in CRITERIA}
    assert {name for name, value in found.items() if not isinstance(value, int | float)} == set()
