"""Memory by arithmetic is that of real steps, and explains what was measured on a card."""

import sys

import pytest
from tests.runs import REPOSITORY

pytestmark = pytest.mark.slow

SIZES = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
}
WEIGHTS = ("student's weights", "teacher's weights", "old embeddings (expansion)")


@pytest.fixture
def on_gpu(monkeypatch):
    """What `benchmarks/gpu.py` imports."""
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    from on_gpu import checks, device, expected, recipes, vocabularies

    yield checks, device, expected, recipes, vocabularies
    for name in [name for name in sys.modules if name.partition(".")[0] == "on_gpu"]:
        del sys.modules[name]


@pytest.mark.filterwarnings("ignore")  # Lightning's advice, which a run of the command line hides
@pytest.mark.parametrize(
    ("attention", "checkpointing", "length"),
    [("eager", False, 384), ("eager", True, 512), ("eager", False, 128)],
)
def test_steps_take_what_is_expected(on_gpu, tmp_path, attention, checkpointing, length):
    checks, device, expected, recipes, vocabularies = on_gpu
    text = vocabularies.texts(None, tiny=True)
    path = tmp_path / "long.jsonl"
    vocabularies.write_documents(text, path, count=40, length=12 * length)
    overrides = [
        *("trainer=cpu", "trainer.precision=bf16-mixed", "objective=next_token"),
        *(f"budget.student_length={length}", f"budget.teacher_length={length}"),
        *("budget.steps=2", f"paths.output_dir={tmp_path / 'run'}", "windows=first"),
        *("budget.batch_size=4", "budget.micro_batch_size=2", "gradient_clip=null"),
        *("++trainer.enable_checkpointing=false", f"speed.checkpointing={checkpointing}"),
        f"corpus.source.path={path}",
    ]
    settings = recipes.Settings(quick=True, tokenizers={}, text=None, overrides=[])
    run = checks.small(settings, tmp_path, overrides, **SIZES)
    measured = device.allocated_on_cpu(lambda: run.trainer.fit(run.module, datamodule=run.data))
    job = expected.Job(
        *("gemma2_2b", 500, 600, 2, length, length),
        attention=attention,
        checkpointing=checkpointing,
        micro_batches=2,
        changes=tuple(SIZES.items()),
        device="cpu",
    )
    parts = expected.parts(job)
    # weights were there before
    wanted = sum(size for name, size in parts.items() if name not in WEIGHTS)
    assert measured == pytest.approx(wanted, rel=0.15)


def test_the_byte_recipe_took_104_gib(on_gpu):
    _, _, expected, *_ = on_gpu
    assert expected.total(expected.AS_MEASURED) / 2**30 == pytest.approx(104, rel=0.1)


@pytest.mark.parametrize("name", ["bytes", "subword", "maths"])
def test_what_is_counted_is_what_the_recipe_says(on_gpu, name):
    _, _, expected, recipes, _ = on_gpu
    job = expected.JOBS[name]
    # the recipe's own settings alone: nothing of theirs is changed for a card
    cfg = recipes.composed([*recipes.RECIPES[name].settings, "trainer=gpu", "paths.output_dir=x"])
    budget = cfg.budget
    assert job.sequences == budget.micro_batch_size
    assert job.sequences * job.micro_batches == budget.batch_size
    assert (job.student_length, job.teacher_length) == (
        budget.student_length,
        budget.teacher_length,
    )
    assert job.checkpointing == cfg.speed.checkpointing
    assert cfg.speed.attention == "auto"
    assert job.rank == cfg.adapter.get("rank")
    assert job.optimizer == "adamw"
    assert str(cfg.optimizer._target_).endswith("AdamW")
    assert job.hidden_states == ("hidden_states" in cfg.objective)
    assert job.distributions == ("next_byte" in cfg.objective)


def test_a_tokenizer_file_alone_is_enough(on_gpu, byte_level_tokenizer, tmp_path):
    *_, vocabularies = on_gpu
    path = tmp_path / "tokenizer.json"
    byte_level_tokenizer.backend_tokenizer.save(str(path))
    found = vocabularies.tokenizer("gemma2", path, tiny=False)
    assert (found.bos_token, found.eos_token, found.pad_token) == ("<bos>", "<eos>", "<pad>")
    text = path.read_text("utf-8")
    path.write_text(text.replace("<eos>", "<other>"), "utf-8")
    with pytest.raises(ValueError, match=r"tokenizer_config\.json"):
        vocabularies.tokenizer("gemma2", path, tiny=False)


def test_expected_figures_stand_beside_measured_ones(on_gpu, monkeypatch):
    import gpu
    from on_gpu import expectation
    from on_gpu.rows import Row

    rows = [
        Row("loss", "matrix product, bf16 (TFLOP/s)", 395.0),
        Row("loss", "copy (TB/s)", 2.15),
        Row("loss", "bf16, forward, ours (ms)", 40.0, expected=30.0),
        Row("maths", "a step (s)", 20.0),
        Row("maths", "share of the matrix-product rate", 0.1),
        Row("maths", "peak memory (GiB)", 70.0),
        Row("resume", "weights off, as a share of their way", 0.0),
    ]
    gpu.compare(rows, [Row("maths", "peak memory (GiB)", expected=66.0)])
    found = {(row.part, row.what): row.expected for row in rows}
    # at half of the rates a step takes twice as long, and the same share
    of_h200 = expectation.step("maths")
    assert found["maths", "a step (s)"] == pytest.approx(2 * of_h200["a step (s)"])
    share = "share of the matrix-product rate"
    assert found["maths", share] == pytest.approx(of_h200[share])
    assert found["maths", "peak memory (GiB)"] == 66.0
    assert found["loss", "bf16, forward, ours (ms)"] == 30.0
    assert found["resume", "weights off, as a share of their way"] is None
    monkeypatch.delitem(sys.modules, "gpu")
