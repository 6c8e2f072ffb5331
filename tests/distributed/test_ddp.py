"""Two processes (gloo, CPU) make the steps that one process makes."""

import csv

import pytest
import torch

pytestmark = pytest.mark.distributed


def curve(folder, terms):
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [f"{kind}{term}" for kind in ("train/", "chunks/weight_") for term in terms]
    steps = [[float(row[name]) for name in names] for row in rows if row["train/alm"]]
    figures = [
        {name: float(value) for name, value in row.items() if name.startswith("val/") and value}
        for row in rows
        if row.get("val/heldout/bytes")
    ]
    return steps, figures


@pytest.mark.parametrize(
    ("objective", "terms"),
    [
        ("alm_next_token_hidden", ["alm", "next_token", "hidden_states"]),
        ("next_byte_alm", ["next_byte", "alm", "next_token"]),
    ],
)
def test_two_processes_equal_one(run_apart, tmp_path, objective, terms):
    runs = {}
    for devices in (1, 2):
        folder = tmp_path / f"on_{devices}"
        finished = run_apart(
            f"objective={objective}",
            "trainer.precision=32-true",
            f"trainer.devices={devices}",
            "trainer.strategy=ddp" if devices > 1 else "trainer.strategy=auto",
            "budget.batch_size=4",
            "budget.micro_batch_size=1",
            "budget.steps=4",
            "sample_prompts=0",
            f"hydra.run.dir={folder}",
            cwd=tmp_path,
        )
        assert finished.returncode == 0, finished.stderr
        assert (folder / "model" / "config.json").is_file()
        runs[devices] = curve(folder, terms)
    (steps_of_one, figures_of_one), (steps_of_two, figures_of_two) = runs.values()
    assert len(steps_of_one) == 4
    for one, two in zip(steps_of_one, steps_of_two, strict=True):
        assert two == pytest.approx(one, rel=1e-4)
    assert len(figures_of_one) == 2
    for one, two in zip(figures_of_one, figures_of_two, strict=True):
        assert two == pytest.approx(one, rel=1e-4)


def test_each_run_of_a_multirun_has_processes_of_its_own(run_apart, tmp_path):
    """Their command line is that of the run: the multirun's would make all runs in each.

    Those of a run that failed must not end the next one, either.
    """
    settings = ["trainer.precision=32-true", "budget.batch_size=4", "sample_prompts=0"]
    settings += ["budget.micro_batch_size=1", "objective=alm"]
    finished = run_apart(
        *settings,
        "budget.learning_rate=1e30,1e-3",
        *("trainer.devices=2", "trainer.strategy=ddp"),
        flags=["-m"],
        cwd=tmp_path,
    )
    assert finished.returncode == 1, finished.stderr
    (sweep,) = (tmp_path / "multirun" / "tiny-gemma_to_bytes").iterdir()
    assert not (tmp_path / "outputs").exists()
    alone = tmp_path / "alone"
    own = [*settings, "budget.learning_rate=1e-3"]
    finished = run_apart(*own, f"hydra.run.dir={alone}", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    (steps, _), (expected, _) = (curve(folder, ["alm"]) for folder in (sweep / "1", alone))
    assert steps == [pytest.approx(step, rel=1e-4) for step in expected]
    assert (sweep / "0" / "diverged.json").is_file()
    assert (sweep / "1" / "summary.json").is_file()


def test_each_process_samples_answers_of_its_own(run_apart, tmp_path):
    folder = tmp_path / "run"
    settings = [
        "objective=alm",
        "on_policy=half",
        "on_policy.begins=0",
        "on_policy.max_new_tokens=8",
        "on_policy.every=2",
        "trainer.precision=32-true",
        "trainer.devices=2",
        "trainer.strategy=ddp",
        "budget.batch_size=4",
        "budget.steps=4",
        "budget.checkpoint_every=1",
        "callbacks.checkpoint.save_top_k=-1",
        "sample_prompts=0",
    ]
    finished = run_apart(*settings, f"hydra.run.dir={folder}", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    checkpoint = folder / "checkpoints/step_1.ckpt"
    states = torch.load(checkpoint, weights_only=True)["own_answers"]
    # of the two steps for which each has sampled, the second is to come
    assert [list(state) for state in states] == [["1"], ["1"]]
    assert states[0] != states[1]
    resumed = tmp_path / "resumed"
    finished = run_apart(
        *settings, f"ckpt_path={checkpoint}", f"hydra.run.dir={resumed}", cwd=tmp_path
    )
    assert finished.returncode == 0, finished.stderr
    (whole, _), (rest, _) = (curve(path, ["alm"]) for path in (folder, resumed))
    assert rest == [pytest.approx(step, rel=1e-5) for step in whole[1:]]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["budget.batch_size=7", "budget.evaluation_windows=2"], "there are 7 processes"),
        (["budget.batch_size=8"], "can't be shared by 7 processes evenly"),
    ],
)
def test_more_processes_than_work_is_one_error(run_apart, tmp_path, settings, words):
    finished = run_apart("trainer.devices=7", *settings, cwd=tmp_path, is_traced=False)
    assert finished.returncode == 1
    # before a second process is started: one process says it, once
    assert finished.stderr.count("error: ") == 1
    assert words in finished.stderr
    assert "Traceback" not in finished.stderr
    assert "gloo" not in finished.stderr
