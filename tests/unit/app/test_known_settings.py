"""A setting that nothing reads is refused, wherever it was written."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict
from tests.config.conftest import CONF

from alm_lightning.app.known_settings import check_known

# many compositions
pytestmark = pytest.mark.slow


@pytest.fixture
def checked():
    """Composes a program's configuration and checks it, as the program does."""
    before = HydraConfig.instance().cfg

    def check(*overrides, program="train"):
        with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            cfg = compose(program, [*overrides], return_hydra_config=True)
            HydraConfig.instance().set_config(cfg)
            with open_dict(cfg):
                del cfg.hydra
            check_known(cfg)

    yield check
    HydraConfig.instance().cfg = before


EXPERIMENTS = [f"experiment={file.stem}" for file in sorted((CONF / "experiment").glob("*.yaml"))]
OTHERS = ["ablation=tau_1", "sweep=ablation", "sweep=bakeoff", "objective=dskd", "logger=wandb"]
MODELS = ["teacher=smollm2_135m", "student=hub"]


@pytest.mark.parametrize("option", [*EXPERIMENTS, *OTHERS, *MODELS])
def test_what_the_files_set_is_read(checked, option):
    checked(option)


@pytest.mark.parametrize("harness", sorted(path.stem for path in (CONF / "harness").glob("*.yaml")))
def test_what_evaluations_set_is_read(checked, harness):
    checked(f"harness={harness}", program="evaluate")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+budget.step=10", r"^budget\.step is set.*Did you mean budget\.steps"),
        ("+budgett.steps=10", r"^budgett is set.*Did you mean budget\?"),
        ("+student.stop_token=[a]", r"Did you mean student\.stop_tokens"),
        ("+teacher.dtpye=float32", r"Did you mean teacher\.dtype"),
        ("+zebra=1", r"^zebra is set, but nothing reads it\. Leave it out\. There are: adapter, "),
    ],
)
def test_a_misspelt_key_is_refused_with_the_right_one(checked, override, message):
    with pytest.raises(ValueError, match=message):
        checked(override)


def test_a_misspelt_key_in_a_file_of_ones_own_is_refused(checked, tmp_path):
    (tmp_path / "experiment").mkdir()
    file = tmp_path / "experiment" / "mine.yaml"
    file.write_text("# @package _global_\nbudget:\n  step: 10\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"^budget\.step is set.*Did you mean budget\.steps"):
        checked("experiment=mine", f"hydra.searchpath=[file://{tmp_path}]")


def test_evaluate_has_its_own_keys(checked):
    with pytest.raises(ValueError, match=r"dtpye is set.*Did you mean dtype"):
        checked("+dtpye=float32", program="evaluate")
    with pytest.raises(ValueError, match=r"Did you mean model\.combine"):
        checked("+model.combined=mean_prob", program="evaluate")


@pytest.mark.parametrize(
    "overrides",
    [
        # what others refer to, what a constructor checks, and what anyone may name
        ["+mine.rate=1e-3", "budget.learning_rate=${mine.rate}"],
        ["+mine.rate=1e-3", "hydra.run.dir='outputs/${mine.rate}'"],
        ["+budget.base=4", "budget.batch_size=${.base}"],
        ["+mine.deep.base=4", "budget.batch_size=${mine.deep.base}"],
        ["+trainer.max_time=00:01:00:00"],
        ["+callbacks.mine._target_=lightning.pytorch.callbacks.Timer"],
        ["+objective.second=${objective.alm}"],
    ],
)
def test_what_is_read_may_be_added(checked, overrides):
    checked(*overrides)


def test_a_value_that_no_file_can_hold(checked):
    with pytest.raises(ValueError, match=r"caf\\udce9.* is not UTF-8.*Rename the file"):
        checked("corpus=text", "corpus.source.path='caf\udce9.txt'")
