"""Several stored teachers, weighed by a column, on two processes as on one."""

import json

import pytest
from hydra import compose, initialize_config_dir
from tests.conftest import SENTENCES, tiny_gemma3
from tests.distributed.test_ddp import curve
from tests.runs import OTHER, REPOSITORY, TEXT

from alm_lightning.app.scoring import score_corpus

pytestmark = pytest.mark.distributed
OWN = ("corpus", "corpus.source.path", "corpus@corpus_other", "corpus_other.source.path")
TERMS = ["alm", "next_token", "hidden_states"]


@pytest.fixture
def said(tiny, tmp_path, model_folder, byte_level_tokenizer):
    """Settings of runs with two stores, which are made here."""
    path = tmp_path / "texts.jsonl"
    rows = [
        {"text": text.format(n, n), "lang": lang}
        for lang, text in (("en", TEXT), ("code", OTHER))
        for n in range(12)
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    other = tmp_path / "other"
    tokenizer = byte_level_tokenizer.train_new_from_iterator(SENTENCES[:2], 320)
    tiny_gemma3(len(tokenizer), hidden_size=48).save_pretrained(other)
    tokenizer.save_pretrained(other)
    chosen = [
        "corpus=jsonl",
        f"corpus.source.path={path}",
        "corpus.source.group_column=lang",
        "windows.cut_bytes=60",
        # a map of the student's states for each teacher
        "objective.hidden_states.projection=linear",
        "trainer.precision=32-true",
    ]
    kept = [each for each in tiny if each.partition("=")[0] not in OWN[:2]]
    for name, folder in (("a", model_folder), ("b", other)):
        teacher = ["teacher=folder", f"teacher.source.path={folder}"]
        with initialize_config_dir(version_base="1.3", config_dir=str(REPOSITORY / "conf")):
            settings = compose(
                "score",
                [
                    *kept,
                    *chosen,
                    *teacher,
                    f"scores.path={tmp_path / name}",
                    "scores.dtype=float32",
                ],
            )
        score_corpus(settings)
    return [
        *chosen,
        "teacher=scores",
        f"teacher.scores.path=[{tmp_path / 'a'},{tmp_path / 'b'}]",
        "teacher.scores.weights={en:[1,0],code:[1,2]}",
        "budget.batch_size=4",
        "budget.micro_batch_size=1",
        "budget.steps=4",
        "sample_prompts=0",
    ]


def test_two_processes_equal_one(run_apart, said, tmp_path):
    runs = {}
    for devices in (1, 2):
        folder = tmp_path / f"on_{devices}"
        finished = run_apart(
            *said,
            f"trainer.devices={devices}",
            "trainer.strategy=ddp" if devices > 1 else "trainer.strategy=auto",
            f"hydra.run.dir={folder}",
            cwd=tmp_path,
            without=OWN[:2],
        )
        assert finished.returncode == 0, finished.stderr
        runs[devices] = curve(folder, TERMS)
    (steps_of_one, figures_of_one), (steps_of_two, figures_of_two) = runs.values()
    assert len(steps_of_one) == 4
    for one, two in zip(steps_of_one, steps_of_two, strict=True):
        assert two == pytest.approx(one, rel=1e-4)
    assert any("@" in name for name in figures_of_one[0])
    for one, two in zip(figures_of_one, figures_of_two, strict=True):
        assert two == pytest.approx(one, rel=1e-4)
