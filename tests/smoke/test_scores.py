"""Runs that learn from a store are those that learn from the teacher itself."""

import csv
import os
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir
from tests.runs import REPOSITORY

import alm_lightning as alm
from alm_lightning.app.scoring import score_corpus
from alm_lightning.objectives.alm import ALM
from alm_lightning.objectives.next_token import NextToken
from alm_lightning.scores.manifest import read_manifest

# whole runs
pytestmark = pytest.mark.slow

CUT = "windows.cut_bytes=60"
EXACT = ["scores.dtype=float32", "scores.least_share=0", "scores.top=null"]


@pytest.fixture
def score_here(tiny, tmp_path):
    """Scores the corpora of a tiny run, in this process."""

    def run(*overrides, folder="store", without=()):
        path = tmp_path / folder
        kept = [override for override in tiny if override.partition("=")[0] not in without]
        said = [*kept, f"scores.path={path}", CUT, "trainer.precision=32-true", *overrides]
        with initialize_config_dir(version_base="1.3", config_dir=str(REPOSITORY / "conf")):
            score_corpus(compose("score", said))
        return path

    return run


def figures_of(summary):
    names = ("bits_per_byte", "bits_per_byte_other", "chunk_difference", "chunks")
    return {name: summary[name] for name in names}


def losses_of(folder):
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [
        {name: float(value) for name, value in row.items() if name.startswith("train/") and value}
        for row in rows
    ]


@pytest.mark.parametrize(
    ("objective", "kinds"),
    [
        ("alm_next_token", ["alm"]),
        ("alm_next_token_hidden", ["alm", "hidden"]),
        ("next_byte_hidden", ["alm", "hidden", "next_byte"]),
        ("bpm", ["alm", "top_k"]),
    ],
)
def test_the_same_run(run_here, score_here, tmp_path, objective, kinds):
    said = [f"objective={objective}", CUT, "trainer.precision=32-true"]
    without = () if "alm" in objective else ("objective.alm.threshold",)
    store = score_here(*EXACT, f"objective={objective}", without=without)
    have = read_manifest(store).plan.kinds
    assert sorted({"alm", *have.kinds}) == sorted(kinds)

    live = run_here(*said, f"paths.output_dir={tmp_path / 'live'}", without=without)
    stored = run_here(
        *said,
        "teacher=scores",
        f"teacher.scores.path={store}",
        f"paths.output_dir={tmp_path / 'stored'}",
        without=without,
    )
    assert _flat(figures_of(stored)) == pytest.approx(_flat(figures_of(live)), rel=1e-5, abs=1e-6)
    for ours, theirs in zip(
        losses_of(tmp_path / "stored"), losses_of(tmp_path / "live"), strict=True
    ):
        assert ours == pytest.approx(theirs, rel=2e-5, abs=1e-6)


def _flat(node, prefix=""):
    if isinstance(node, dict):
        return {k: v for key, n in node.items() for k, v in _flat(n, f"{prefix}.{key}").items()}
    return {prefix: node}


def test_what_the_objective_could_not_read_is_not_stored(score_here, tmp_path):
    settings = ["objective=next_byte", "objective.next_byte.divergence=reverse_kl"]
    without = ("objective", "objective.alm.threshold")
    with pytest.raises(ValueError, match=r"scores\.least_share=0 scores\.dtype=float32"):
        score_here(*settings, without=without)
    assert not (tmp_path / "store").exists()
    kept = ["scores.dtype=float32", "scores.least_share=0"]
    assert score_here(*settings, *kept, without=without).is_dir()


def test_two_commands(tiny, run_apart, tmp_path):
    kept = [override for override in tiny if not override.startswith("objective")]
    said = [*kept, "objective=alm_next_token", CUT, "scores.path=store"]
    scored = subprocess.run(
        [sys.executable, "-m", "alm_lightning.score", "-m", "scores.part=0/2,1/2", *said],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert scored.returncode == 0, scored.stderr
    assert "bytes a byte of text" in scored.stdout + scored.stderr
    assert read_manifest(tmp_path / "store").sequences > 10
    trained = run_apart(
        "objective=alm_next_token",
        CUT,
        "teacher=scores",
        "teacher.scores.path=store",
        "sample_prompts=1",
        cwd=tmp_path,
        without=("objective", "objective.alm.threshold"),
    )
    assert trained.returncode == 0, trained.stderr
    assert "(not loaded: its scores were read)" in trained.stdout
    # another cut is one clear error before the first step
    other = run_apart(
        "objective=alm_next_token",
        "teacher=scores",
        "teacher.scores.path=store",
        cwd=tmp_path,
        is_traced=False,
        without=("objective", "objective.alm.threshold"),
    )
    assert other.returncode != 0
    assert "windows.cut_bytes=60" in other.stderr
    assert "Traceback" not in other.stderr


def test_starts_of_texts_that_are_not_cut(run_here, score_here, tmp_path, texts, model_folder):
    """As the publication truncates: each text's first window is trained and evaluated on."""
    said = [
        "objective=alm_next_token",
        "windows=first",
        "windows.cut_bytes=null",
        f"cache_dir={tmp_path / 'cache'}",
        # held-out texts are longer
        "budget.student_length=40",
        "trainer.precision=32-true",
    ]
    store = score_here(*said)
    live = run_here(*said, f"paths.output_dir={tmp_path / 'live'}")
    stored = run_here(
        *said,
        "teacher=scores",
        f"teacher.scores.path={store}",
        f"paths.output_dir={tmp_path / 'stored'}",
    )
    for ours, theirs in zip(
        losses_of(tmp_path / "stored"), losses_of(tmp_path / "live"), strict=True
    ):
        assert ours == pytest.approx(theirs, rel=2e-5, abs=1e-6)
    assert stored["chunks"]["count"] < live["chunks"]["count"]
    objective = {
        "alm": ALM(temperature=5, threshold=0.01, debias=True, divergence="kl"),
        "next_token": NextToken(),
    }
    result = alm.distill(
        model_folder,
        tokenizer="bytes",
        special_tokens=["<start_of_turn>", "<end_of_turn>"],
        teacher=store,
        data=texts["corpus"],
        other_data=texts["corpus_other"],
        objective=objective,
        steps=3,
        student_length=40,
        evaluation_windows=4,
        accelerator="cpu",
        precision="32-true",
        progress=False,
    )
    ours, theirs = _flat(figures_of(result.metrics)), _flat(figures_of(stored))
    assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6)
