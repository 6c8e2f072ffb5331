import csv
import json

import pytest

from alm_lightning.app.train.report import timing_line, write_summary


@pytest.mark.parametrize(
    ("timed", "expected"),
    [
        (60, "60 steps in 30 s (0.50 s each), 99 s in all"),
        (20, "60 steps, 20 of them here in 30 s (0.50 s each), 99 s in all"),
        (0, "60 steps, none timed, 99 s in all"),
    ],
)
def test_only_what_was_timed_is_said_to_be(timed, expected):
    seconds = {
        "total": 99.0,
        "train": 30.0 if timed else 0.0,
        "timed_steps": timed,
        "per_step": 0.5 if timed else None,
    }
    assert timing_line({"steps": 60, "seconds": seconds}) == expected


def test_a_summary_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "summary.json"

    class Killed(dict):
        def items(self):
            yield "steps", 3
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_summary(path, {"seed": 0, "seconds": Killed(steps=3)})
    assert not path.exists()
    write_summary(path, {"seed": 0})
    assert [each.name for each in tmp_path.iterdir()] == ["summary.json"]
    assert path.read_text(encoding="utf-8") == '{\n  "seed": 0\n}\n'
    with pytest.raises(FileExistsError, match="never writes over another"):
        write_summary(path, {"seed": 1})
    assert json.loads(path.read_text(encoding="utf-8")) == {"seed": 0}


def test_the_share_in_chunks_is_one_number(run_here, tmp_path, capsys):
    chats = [
        [
            {"role": "user", "content": f"What is {number} plus {number}?"},
            {"role": "assistant", "content": f"It is {2 * number}."},
        ]
        for number in range(12)
    ]
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(json.dumps({"messages": chat}) for chat in chats), encoding="utf-8")
    summary = run_here(
        "corpus=messages",
        f"corpus.source.path={path}",
        "chat.trained=assistant",
        "budget.steps=1",
    )
    with (tmp_path / "metrics.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("val/heldout/coverage")]
    # the user's bytes are in chunks, although they are not trained on
    assert float(rows[-1]["val/heldout/coverage"]) == summary["chunks"]["coverage"] == 1.0
    outside = summary["chunks"]["outside_bytes"]
    assert outside.pop("untrained") == pytest.approx(
        float(rows[-1]["val/heldout/outside_bytes_untrained"])
    )
    assert set(outside.values()) == {0}
    (line,) = [
        line for line in capsys.readouterr().out.splitlines() if "share of bytes in chunks" in line
    ]
    assert line.count("100.0%") == 2
