import pytest
from hydra import compose, initialize_config_dir
from tests.runs import REPOSITORY

from alm_lightning.app.train.checks import check_settings
from alm_lightning.app.train.command import train


@pytest.fixture
def settings(tiny, tmp_path):
    def settings(*overrides):
        with initialize_config_dir(version_base="1.3", config_dir=str(REPOSITORY / "conf")):
            return compose("train", [*tiny, f"paths.output_dir={tmp_path}", *overrides])

    return settings


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


@pytest.mark.parametrize("trainer", ["trainer=gpu", "trainer=fsdp", "trainer.accelerator=cuda"])
def test_a_gpu_that_is_not_here(settings, monkeypatch, trainer):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(ValueError, match=r"sees no CUDA device here\. Take auto or cpu"):
        check_settings(settings(trainer))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    check_settings(settings(trainer))


def test_weights_spread_over_devices(settings, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    (tmp_path / "step_1.ckpt").mkdir()
    # whose checkpoints are folders
    check_settings(settings("trainer=fsdp", f"ckpt_path={tmp_path}/step_1.ckpt"))
    with pytest.raises(ValueError, match="To spread weights over several GPUs take trainer=fsdp"):
        check_settings(settings("trainer.strategy=fsdp"))


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("budget.micro_batch_size=auto", "none can try alone what fits. Give a number"),
        ("optimizer=adamw_8bit", "adamw_8bit was never tried .* Take optimizer=adamw"),
        ("speed.keep_graphs=true", "keep_graphs is true, and weights are spread"),
        ("on_policy=half on_policy/engine=vllm", "vllm needs whole weights, and they are spread"),
    ],
)
def test_what_spread_weights_exclude(settings, setting, expected):
    with pytest.raises(ValueError, match=expected):
        check_settings(settings("trainer=fsdp", *setting.split()))


def test_spread_over_processors(settings):
    # where the size of a micro-batch is reckoned
    spread = ("trainer=fsdp", "trainer.accelerator=cpu")
    check_settings(settings(*spread, "budget.micro_batch_size=auto"))


def test_a_trainer_that_evaluates_nothing(settings):
    with pytest.raises(ValueError, match="limit_val_batches is 0, and the figures of a run"):
        check_settings(settings("+trainer.limit_val_batches=0"))


def test_no_such_checkpoint(settings, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"newest as last\.ckpt, or as stopped\.ckpt"):
        check_settings(settings(f"ckpt_path={tmp_path}/nothing.ckpt"))


@pytest.mark.parametrize(
    ("path", "named"),
    [("scores/a", "scores/a"), ("[scores/b,scores/a]", "scores/b"), ("null", "STORE")],
)
def test_the_tokenizer_of_a_stored_teacher(settings, path, named):
    """There is no store at these paths: what is wrong is said before anything is read."""
    cfg = settings(
        "teacher=scores", f"teacher.scores.path={path}", "tokenizer=teacher", "embeddings=fvt"
    )
    with pytest.raises(ValueError, match="tokenizer=teacher reads the tokenizer of a") as raised:
        train(cfg)
    remedy = f"tokenizer=folder tokenizer.source.path={named}/tokenizer"
    assert f"{remedy} tokenizer.special_tokens=replace" in str(raised.value)
    assert "tokenizer=hub tokenizer.source.weights.hub_id=" in str(raised.value)


def test_other_tokenizers_with_a_stored_teacher(settings):
    stored = ["teacher=scores", "teacher.scores.path=scores/a"]
    folder = ["tokenizer=folder", "tokenizer.source.path=scores/a/tokenizer", "embeddings=fvt"]
    check_settings(settings(*stored))
    check_settings(settings(*stored, *folder))
