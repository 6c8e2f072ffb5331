"""A continued run sees the documents that the unbroken one sees, whatever makes its windows."""

import csv
import json
import math

import pytest

STEPS = 6

pytestmark = [
    # whole runs
    pytest.mark.slow,
    # a resumed run writes into a folder of its own
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    # Lightning can't know that a loader starts at the step that the run is at
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before"),
]


def losses(folder):
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("train/alm")]
    return {int(row["step"]): (row["train/alm"], row["train/next_token"]) for row in rows}


@pytest.fixture
def jsonl(tmp_path):
    path = tmp_path / "mixed.jsonl"
    texts = [f"The quick brown fox number {n} jumps over {n * n} lazy dogs." for n in range(24)]
    lines = [json.dumps({"text": text}) for text in texts]
    path.write_text("\n".join([*lines[:9], "broken", *lines[9:]]), encoding="utf-8")
    return ["corpus=jsonl", f"corpus.source.path={path}"]


@pytest.mark.parametrize("windows", ["all", "first", "cached", "stream"])
def test_the_curve_goes_on(run_here, jsonl, tmp_path, windows):
    def run(name, *overrides):
        run_here(
            *jsonl,
            f"windows={windows}",
            f"cache_dir={tmp_path}/cache",
            "on_bad_document=skip",
            f"budget.steps={STEPS}",
            "budget.batch_size=5",
            "budget.evaluation_windows=1",
            "budget.checkpoint_every=4",
            "callbacks.checkpoint.save_top_k=-1",
            "trainer.precision=32-true",
            f"paths.output_dir={tmp_path}/{name}",
            *overrides,
        )
        return losses(tmp_path / name)

    unbroken = run("unbroken")
    assert sorted(unbroken) == list(range(STEPS))
    assert all(math.isfinite(float(loss)) for row in unbroken.values() for loss in row)
    checkpoint = tmp_path / "unbroken/checkpoints/step_4.ckpt"
    resumed = run("resumed", f"ckpt_path={checkpoint}", "num_workers=2")
    assert resumed == {step: unbroken[step] for step in (4, 5)}
    # windows in another order would make another curve
    other = "first" if windows != "first" else "stream"
    with pytest.raises(ValueError, match="with other settings, whose loss curve would not go on"):
        run("other", f"ckpt_path={checkpoint}", f"windows={other}")
