"""Runs with several stored teachers, from the command line's settings on."""

import csv
import json

import pytest
from hydra import compose, initialize_config_dir
from rich.console import Console
from tests.conftest import SENTENCES, tiny_gemma3
from tests.runs import REPOSITORY

import alm_lightning as alm
from alm_lightning.app.scoring import score_corpus
from alm_lightning.app.train.report import results_table, teachers_table
from alm_lightning.distillation.models import StoredModel
from alm_lightning.objectives.alm import ALM
from alm_lightning.objectives.next_token import NextToken

# whole runs
pytestmark = pytest.mark.slow

CUT = "windows.cut_bytes=60"
SAID = [
    "objective=alm_next_token",
    "objective.alm.threshold=0.01",
    CUT,
    "trainer.precision=32-true",
]
WITHOUT = ("objective", "objective.alm.threshold")
SAME = ("bits_per_byte", "bits_per_byte_other", "chunk_difference", "chunks", "gap_closed")


@pytest.fixture(scope="session")
def other_folder(tmp_path_factory, byte_level_tokenizer):
    """A second teacher, with a tokenizer of its own."""
    folder = tmp_path_factory.mktemp("models") / "other-gemma"
    view = byte_level_tokenizer.train_new_from_iterator(SENTENCES[:2], 320)
    tiny_gemma3(len(view), hidden_size=48).save_pretrained(folder)
    view.save_pretrained(folder)
    return folder


@pytest.fixture
def stores(tiny, tmp_path, model_folder, other_folder):
    """Stores of both teachers, by name; more of them with other settings."""

    def make(name, *overrides):
        folder = {"a": model_folder, "b": other_folder}[name[0]]
        path = tmp_path / name
        kept = [override for override in tiny if override.partition("=")[0] not in WITHOUT]
        teacher = ["teacher=folder", f"teacher.source.path={folder}"]
        said = [*kept, *SAID, *teacher, f"scores.path={path}", *overrides]
        with initialize_config_dir(version_base="1.3", config_dir=str(REPOSITORY / "conf")):
            score_corpus(compose("score", said))
        return path

    return make


@pytest.fixture
def taught(run_here, tmp_path):
    """A run with some stores."""

    def run(*paths, more=(), name="run", said=tuple(SAID)):
        path = paths[0] if len(paths) == 1 else f"[{','.join(map(str, paths))}]"
        folder = tmp_path / name
        scored = ["teacher=scores", f"teacher.scores.path={path}", f"paths.output_dir={folder}"]
        return run_here(*said, *scored, *more, without=WITHOUT), folder

    return run


def losses_of(folder):
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    rows = [row for row in rows if row.get("train/alm")]
    return [{k: v for k, v in row.items() if "train/" in k} for row in rows]


def flat(node, prefix=""):
    if isinstance(node, dict):
        return {k: v for key, n in node.items() for k, v in flat(n, f"{prefix}.{key}").items()}
    return {prefix: node}


def figures(summary):
    return flat({name: summary[name] for name in SAME})


def test_a_list_of_one_is_one(stores, taught):
    a = stores("a")
    alone, folder = taught(a, name="alone")
    listed, other = taught(f"[{a}]", more=["teacher.scores.weights=[2]"], name="listed")
    assert figures(listed) == figures(alone)
    assert losses_of(other) == losses_of(folder) != []
    assert "teachers" not in listed


def test_two_teachers(stores, taught, tmp_path):
    a, b = stores("a"), stores("b")
    more = ["budget.batch_size=4", "budget.micro_batch_size=2", "packing=first_fit"]
    more += ["sample_prompts=1", "teacher.scores.weights=[1,3]"]
    summary, folder = taught(a, b, more=more)
    assert summary["combined_by"] == "losses"
    assert summary["teacher_weights"] == {"all": (0.25, 0.75)}
    one, other = summary["teachers"].values()
    # two folders that are named by their paths
    assert len(set(summary["teachers"])) == 2
    assert one["bits_per_byte"]["teacher"] != other["bits_per_byte"]["teacher"]
    # the mean of figures, and no ratio of means, for teachers with differently many chunks
    for name in ("bits_per_byte", "bits_per_byte_other", "chunk_difference"):
        parts = [flat(each[name]) for each in (one, other)]
        expected = {key: parts[0][key] / 4 + parts[1][key] * 3 / 4 for key in parts[0]}
        assert flat(summary[name]) == pytest.approx(expected, rel=1e-5)
    with (folder / "metrics.csv").open() as file:
        last = [row for row in csv.DictReader(file) if row.get("val/heldout/chunks")][-1]
    counts = [float(last[f"val/heldout@{label}/chunks"]) for label in summary["teachers"]]
    assert counts[0] != counts[1]
    assert summary["chunks"]["count"] == float(last["val/heldout/chunks"]) == min(counts)
    written = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert written["teachers"].keys() == summary["teachers"].keys()
    card = (folder / "model" / "README.md").read_text(encoding="utf-8")
    for label in summary["teachers"]:
        assert label in card
    row = losses_of(folder)[0]
    each = [float(row[f"train/alm@{label}"]) for label in summary["teachers"]]
    assert sum(each) == pytest.approx(float(row["train/alm"]), rel=1e-5)


def test_the_library_takes_stores(stores, taught, texts, model_folder):
    """What the command line makes of stores, `alm.distill` makes too."""
    a, b = stores("a"), stores("b")
    same = ["tokenizer=own", "embeddings=own", "teacher.scores.weights=[1,3]"]
    from_command, _ = taught(a, b, more=[*same, "budget.evaluation_windows=4"], name="command")
    said = {
        "data": texts["corpus"],
        "other_data": texts["corpus_other"],
        "objective": {
            "alm": ALM(temperature=5, threshold=0.01, debias=True, divergence="kl"),
            "next_token": NextToken(),
        },
        "steps": 3,
        "student_length": 96,
        "evaluation_windows": 4,
        "accelerator": "cpu",
        "precision": "32-true",
        "progress": False,
    }
    result = alm.distill(model_folder, teacher=[a, b], teacher_weights=[1, 3], **said)
    assert figures(result.metrics) == pytest.approx(figures(from_command), rel=1e-5)
    assert flat(result.metrics["teachers"]) == pytest.approx(
        flat(from_command["teachers"]), rel=1e-5
    )
    alone = alm.distill(model_folder, teacher=a, **said)
    assert "teachers" not in alone.metrics
    with pytest.raises(ValueError, match="has its teacher's tokenizer"):
        alm.distill(model_folder, teacher=a, teacher_tokenizer="bytes", **said)
    with pytest.raises(ValueError, match="there is one teacher"):
        alm.distill(model_folder, teacher=model_folder, teacher_weights=[1, 2], **said)
    with pytest.raises(FileNotFoundError, match="each must be scored first"):
        alm.distill(model_folder, teacher=[a, model_folder], **said)
    with pytest.raises(ValueError, match="combine is 'mixture', and there is one teacher"):
        alm.distill(model_folder, teacher=a, combine="mixture", **said)


def test_what_the_library_says_names_its_own_arguments(stores, texts, model_folder, monkeypatch):
    """Before the student is loaded, and without settings that `alm.distill` has not."""
    said = {"data": texts["corpus"], "objective": "alm_next_token", "steps": 1}
    said |= {"accelerator": "cpu", "progress": False}
    a, b = stores("a"), stores("b")
    uncut = [stores(name, "windows.cut_bytes=null", "windows=first") for name in ("a0", "b0")]
    monkeypatch.setattr(StoredModel, "load", lambda *_: pytest.fail("the student was loaded"))
    with pytest.raises(ValueError, match=r"^teacher_length is 300, .*Take teacher_length=256"):
        alm.distill(model_folder, teacher=[a, b], teacher_length=300, **said)
    with pytest.raises(ValueError, match=r"^combine is 'sum': expected one of losses, mixture"):
        alm.distill(model_folder, teacher=[a, b], combine="sum", **said)
    with pytest.raises(ValueError, match=r"^teacher_weights has 1 weights"):
        alm.distill(model_folder, teacher=[a, b], teacher_weights=[1], **said)
    with pytest.raises(ValueError, match=r"^alm-score did not cut the texts of .*a0 and .*b0"):
        alm.distill(model_folder, teacher=uncut, **said)


@pytest.mark.parametrize("combine", ["losses", "mixture", "geometric"])
def test_one_store_twice(stores, taught, caplog, combine):
    a = stores("a")
    alone, _ = taught(a, name="alone")
    more = ["teacher.scores.weights=[1,4]", f"teacher.scores.combine={combine}"]
    twice, _ = taught(a, a, more=more, name="twice")
    assert "equal stores" in caplog.text
    assert figures(twice) == pytest.approx(figures(alone), rel=1e-4, abs=1e-5)


# Lightning says that the resumed run has a folder of its own
@pytest.mark.filterwarnings("ignore:The dirpath has changed:UserWarning")
def test_a_resumed_run_is_the_unbroken_one(stores, taught, tmp_path):
    a, b = stores("a"), stores("b")
    more = ["budget.checkpoint_every=2", "teacher.scores.weights=[1,3]"]
    _, whole = taught(a, b, more=more, name="whole")
    (checkpoint,) = (whole / "checkpoints").glob("step_2.ckpt")
    resumed = [*more, f"ckpt_path={checkpoint}"]
    _, folder = taught(a, b, more=resumed, name="resumed")
    assert losses_of(folder) == losses_of(whole)[2:] != []
    changed = [*more[:1], f"ckpt_path={checkpoint}", "teacher.scores.weights=[3,1]"]
    with pytest.raises(ValueError, match=r"teacher\.scores\.weights"):
        taught(a, b, more=changed, name="changed")


def test_tables_of_several_teachers():
    values = dict.fromkeys(
        ("bits_per_byte_teacher", "bits_per_byte_student", "chunk_difference", "bytes_per_chunk"),
        1.5,
    ) | {"coverage": 1.0, "bytes": 7.0}
    sets = {"heldout": values, "heldout@small": values | {"bits_per_byte_teacher": 2.25}}
    console = Console(width=120, record=True)
    console.print(results_table(sets, sets), teachers_table(sets, sets))
    first, _, second = console.export_text().partition("beside each teacher")
    assert "all teachers together" in first
    assert "small" not in first
    assert "small" in second
    assert "2.250" in second
    assert teachers_table({"heldout": values}, {"heldout": values}) is None


@pytest.mark.parametrize(
    ("second", "more", "message"),
    [
        (("b", "windows.cut_bytes=70"), (), r"windows\.cut_bytes=60, and those of .* with 70"),
        (("b", "scores.documents=3"), (), "not the same texts"),
        (("b",), ("teacher.scores.weights=[1]",), r"^teacher\.scores\.weights has 1 weights"),
        (("b",), ("teacher.scores.weights=[1,-2]",), "weight of .* is -2"),
        (("b",), ("teacher.scores.weights={de:[1,1]}",), "group_column"),
        (
            ("b",),
            ("teacher.scores.combine=sum",),
            r"^teacher\.scores\.combine is 'sum': expected one of losses, mixture, geometric",
        ),
        (("b",), ("windows.cut_bytes=70",), r"^windows\.cut_bytes is 70, and .*cut_bytes=60"),
        (("b",), ("budget.teacher_length=300",), r"^budget\.teacher_length is 300, "),
        (None, (), "each must be scored first"),
    ],
)
def test_what_does_not_go_together(stores, taught, tmp_path, monkeypatch, second, more, message):
    a = stores("a")
    b = tmp_path / "gemma3_270m" if second is None else stores(*second)
    if "group_column" not in message:
        # all but what documents say is said before anything is loaded
        monkeypatch.setattr(StoredModel, "load", lambda *_: pytest.fail("the student was loaded"))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        taught(a, b, more=more)


@pytest.mark.parametrize("combine", ["sum", "mixture"])
def test_one_teacher_has_nothing_to_combine(stores, taught, combine):
    with pytest.raises(ValueError, match=rf"^teacher\.scores\.combine is '{combine}'"):
        taught(stores("a"), more=[f"teacher.scores.combine={combine}"])


def test_more_than_chunks_is_refused(stores, taught):
    kinds = "scores.kinds=[hidden,next_byte]"
    a, b = stores("a", kinds), stores("b", kinds)
    said = [CUT, "trainer.precision=32-true", "objective=next_byte"]
    more = ["teacher.scores.combine=mixture"]
    with pytest.raises(ValueError, match=r"combine=losses, which works with all"):
        taught(a, b, more=more, said=said)
    summary, _ = taught(a, b, said=said)
    assert len(summary["teachers"]) == 2
