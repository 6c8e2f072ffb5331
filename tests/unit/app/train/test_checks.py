import math

import pytest
from hydra import compose, initialize_config_dir
from tests.runs import REPOSITORY

from alm_lightning.app.train.checks import check_settings, check_teacher

VOCABULARY = 50_000
UNIFORM = math.log(VOCABULARY)


@pytest.fixture
def settings(tiny, tmp_path):
    def settings(*overrides):
        with initialize_config_dir(version_base="1.3", config_dir=str(REPOSITORY / "conf")):
            return compose("train", [*tiny, f"paths.output_dir={tmp_path}", *overrides])

    return settings


# --- settings


def test_good_settings_pass(settings, tmp_path):
    # a folder that is empty was made for this run, or has nothing to lose
    (tmp_path / "checkpoints").mkdir()
    check_settings(settings())


@pytest.mark.parametrize(
    "left", ["model/config.json", "summary.json", "metrics.csv", "checkpoints/last.ckpt"]
)
def test_a_folder_with_anything_of_another_run(settings, tmp_path, left):
    (tmp_path / left).parent.mkdir(exist_ok=True)
    (tmp_path / left).touch()
    with pytest.raises(FileExistsError, match=r"exists, and a run never writes over.*Give another"):
        check_settings(settings())


@pytest.mark.parametrize("precision", ["16-mixed", "16"])
def test_a_precision_with_scaled_gradients(settings, precision):
    with pytest.raises(ValueError, match=r"precision is 16.*Take bf16-mixed or 32-true"):
        check_settings(settings(f"trainer.precision={precision}"))


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64", "bf16", "fp8"])
def test_a_precision_that_casts_whole_models(settings, precision):
    with pytest.raises(ValueError, match=rf"precision is {precision}: expected one of auto, bf16"):
        check_settings(settings(f"trainer.precision={precision}"))


@pytest.mark.parametrize("precision", ["auto", "bf16-mixed", "32-true", "32"])
@pytest.mark.parametrize("strategy", ["auto", "ddp", "ddp_find_unused_parameters_true"])
def test_what_a_trainer_may_be(settings, precision, strategy):
    check_settings(settings(f"trainer.precision={precision}", f"trainer.strategy={strategy}"))


@pytest.mark.parametrize("strategy", ["fsdp", "deepspeed_stage_2", "ddp_spawn", "ddp_notebook"])
def test_a_strategy_that_splits_models_or_starts_late(settings, strategy):
    with pytest.raises(ValueError, match=rf"strategy is {strategy}: expected one of auto, ddp"):
        check_settings(settings(f"trainer.strategy={strategy}"))


def test_a_strategy_as_a_class(settings):
    strategies = "lightning.pytorch.strategies"
    check_settings(settings(f"trainer.strategy={{_target_: {strategies}.DDPStrategy}}"))
    with pytest.raises(ValueError, match="strategy is FSDPStrategy: expected"):
        check_settings(settings(f"trainer.strategy={{_target_: {strategies}.FSDPStrategy}}"))


def test_no_such_checkpoint(settings, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"newest as last\.ckpt, or as stopped\.ckpt"):
        check_settings(settings(f"ckpt_path={tmp_path}/nothing.ckpt"))


@pytest.mark.parametrize("tokenizer", ["qwen2", "smollm2"])
def test_embeddings_of_bytes_for_another_tokenizer(settings, tokenizer):
    with pytest.raises(
        ValueError, match=r"is to be .*(Qwen|SmolLM2).*Take embeddings=fvt \(or omp"
    ):
        check_settings(settings(f"tokenizer={tokenizer}"))
    check_settings(settings(f"tokenizer={tokenizer}", "embeddings=fvt"))


@pytest.mark.parametrize(
    "new", [("tokenizer=bytes", "embeddings=bytes"), ("tokenizer=qwen2", "embeddings=fvt")]
)
def test_new_embeddings_that_would_stay_frozen(settings, new):
    frozen = ["adapter=lora", "adapter.train_embeddings=false"]
    with pytest.raises(
        ValueError, match=r"train_embeddings=false freezes.*Take adapter\.train_embeddings=true, or"
    ):
        check_settings(settings(*new, *frozen))
    check_settings(settings(*new, "adapter=lora"))
    check_settings(settings("tokenizer=own", "embeddings=own", *frozen))


def test_a_donor_that_is_nowhere_named(settings):
    for tokenizer in ("gpt2", "bytes"):
        with pytest.raises(ValueError, match=r"omp needs a donor.* can't be found \(.*Say where"):
            check_settings(settings(f"tokenizer={tokenizer}", "embeddings=omp"))
    hub = "embeddings.initialisation.donor=${tokenizer.source.sources.hub.weights}"
    check_settings(settings("tokenizer=gpt2", "embeddings=omp", hub))
    check_settings(settings("tokenizer=smollm2", "embeddings=omp"))


# --- the teacher


def figures(nats_per_token, bytes_per_token=4.0):
    tokens = 600.0
    return {
        "bits_per_byte_teacher": nats_per_token / math.log(2) / bytes_per_token,
        "teacher_tokens_per_chunk": 1.5,
        "chunks": tokens / 1.5,
        "bytes": tokens * bytes_per_token,
    }


@pytest.mark.parametrize(
    "sets",
    [
        {"heldout": figures(2.5), "other": figures(3.0)},
        # one strange text is no strange teacher
        {"heldout": figures(2.5), "other": figures(2 * UNIFORM)},
        # as it was initialised
        {"heldout": figures(1.01 * UNIFORM), "other": figures(1.02 * UNIFORM)},
    ],
    ids=["good", "good on one", "untrained"],
)
def test_a_teacher_that_knows_something(sets):
    check_teacher(sets, "tiny", VOCABULARY)


@pytest.mark.parametrize(
    "sets",
    [
        {"heldout": figures(1.2 * UNIFORM), "other": figures(1.1 * UNIFORM)},
        # tokens of a byte each: more than 8 bits per byte
        {"heldout": figures(5.9, 1.0), "other": figures(5.9, 1.0)},
        {"heldout": figures(2.5), "other": figures(math.nan)},
        {"heldout": figures(math.inf), "other": figures(2.5)},
    ],
    ids=["tokens", "bytes", "nan", "inf"],
)
def test_a_teacher_that_knows_less_than_nothing(sets):
    assert sets["heldout"]["bits_per_byte_teacher"] != 8
    message = r"the teacher tiny needs .*10\.82 nats per token.*Load both from one revision"
    with pytest.raises(ValueError, match=message):
        check_teacher(sets, "tiny", VOCABULARY)
