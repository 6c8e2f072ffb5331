"""Two processes (gloo, CPU) train adapters on a shared body as one process does."""

import csv

import pytest

pytestmark = pytest.mark.distributed


def curve(folder):
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = ["train/alm", "train/next_token", "train/hidden_states", "train/balance_alm"]
    return [
        [float(value) for value in figures]
        for row in rows
        for figures in (
            [row[name] for name in names],
            [row[name] for name in sorted(row) if name.startswith("val/") and row[name]],
        )
        if figures and all(figures)
    ]


def test_two_processes_equal_one(run_apart, byte_level_tokenizer, tmp_path):
    tokenizer = tmp_path / "byte-level"
    byte_level_tokenizer.save_pretrained(tokenizer)
    runs = {}
    for devices in (1, 2):
        folder = tmp_path / f"on_{devices}"
        finished = run_apart(
            "tokenizer=folder",
            f"tokenizer.source.path={tokenizer}",
            "embeddings=fvt",
            "adapter=lora",
            "adapter.rank=4",
            "trainer.precision=32-true",
            "student.dtype=float32",
            f"trainer.devices={devices}",
            "trainer.strategy=ddp" if devices > 1 else "trainer.strategy=auto",
            "budget.batch_size=4",
            "budget.micro_batch_size=1",
            "budget.steps=4",
            "budget.learning_rate=1e-3",
            "sample_prompts=0",
            f"hydra.run.dir={folder}",
            cwd=tmp_path,
        )
        assert finished.returncode == 0, finished.stderr
        assert (folder / "model" / "config.json").is_file()
        runs[devices] = curve(folder)
    # four steps, and the figures before and after
    assert len(runs[1]) == 4 + 2
    assert len(runs[2]) == len(runs[1])
    for one, two in zip(runs[1], runs[2], strict=True):
        assert two == pytest.approx(one, rel=1e-3)
