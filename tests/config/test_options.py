"""Every option of every group: it composes, and what it names can be made."""

import math
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException, MissingConfigException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, MissingMandatoryValue

# a composition for each option
pytestmark = pytest.mark.slow

CONF = Path(__file__).parents[2] / "conf"
# harnesses are evaluate.py's: test_evaluate_options.py
NOT_OPTIONS = (
    "hydra",
    "experiment",
    "ablation",
    "debug",
    "sweep",
    "harness",
    "model",
)
"""Folders whose files are not chosen for themselves: Hydra's own settings, differences from other
groups, and the models of students and teachers."""

REQUIRED = {
    "corpus/text": ["corpus.source.path=x.txt"],
    "corpus/jsonl": ["corpus.source.path=x.jsonl"],
    "corpus/messages": ["corpus.source.path=x.jsonl"],
    "corpus/question_answer": ["corpus.source.path=x.jsonl"],
    "corpus/parquet": ["corpus.source.path=x.parquet"],
    "corpus/hub": ["corpus.source.name=owner/data"],
    "student/folder": ["student.source.path=x"],
    "student/hub": ["student.source.hub_id=owner/model"],
    "teacher/folder": ["teacher.source.path=x"],
    "teacher/hub": ["teacher.source.hub_id=owner/model"],
    "teacher/scores": ["teacher.scores.path=x"],
    "teacher/server": [
        "teacher.name=x",
        "teacher.tokenizer=x",
        "teacher.server.url=http://127.0.0.1:8000/v1",
    ],
    "tokenizer/folder": ["tokenizer.source.path=x"],
    "tokenizer/hub": ["tokenizer.source.weights.hub_id=owner/model"],
}
"""Values that an option asks its user for."""
PARTNERS = {"embeddings/omp": ["tokenizer=smollm2"]}
"""What an option goes with, where that is not the default."""


def names(group):
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def groups():
    folders = {file.parent.relative_to(CONF).as_posix() for file in CONF.glob("*/**/*.yaml")}
    return sorted(folders - set(NOT_OPTIONS))


OPTIONS = [f"{group}/{name}" for group in groups() for name in names(group)]
OPTIONS += [f"{side}/{name}" for side in ("student", "teacher") for name in names("model")]


def keys(node, prefix=""):
    """Every dotted key of a configuration, unresolved."""
    for key in node:
        yield f"{prefix}{key}"
        if OmegaConf.is_dict(node) and OmegaConf.is_dict(node._get_node(key)):
            yield from keys(node[key], f"{prefix}{key}.")


@pytest.mark.parametrize("option", OPTIONS)
def test_option_composes_and_can_be_made(composed, option):
    group, _, name = option.rpartition("/")
    cfg = composed(f"{group}={name}", *REQUIRED.get(option, PARTNERS.get(option, [])))
    OmegaConf.resolve(cfg)
    if option in ("trainer/gpu", "trainer/fsdp"):
        # Lightning refuses to make a trainer for a device that is not there
        assert (cfg.trainer.accelerator, cfg.trainer.devices) == ("gpu", -1)
        return
    # app hands the trainer its loggers (without any, Lightning would choose one) and the precision
    handed = {"logger": False, "precision": "32-true"} if group == "trainer" else {}
    assert group != "trainer" or cfg.trainer.precision == "auto"
    made = instantiate(OmegaConf.select(cfg, group.replace("/", ".")), **handed)
    assert made is not None
    assert not isinstance(made, DictConfig) or not any("_target_" in key for key in keys(made))


@pytest.mark.parametrize("option", sorted(REQUIRED))
def test_what_an_option_asks_for_is_missing_until_it_is_given(composed, option):
    group, _, name = option.rpartition("/")
    missing = (InterpolationToMissingValueError, MissingMandatoryValue)
    for required in REQUIRED[option]:
        others = [each for each in REQUIRED[option] if each != required]
        cfg = composed(f"{group}={name}", *others)
        key = required.partition("=")[0]
        with pytest.raises(missing, match=rf"(?s)Missing mandatory value: .*{key}"):
            OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)


@pytest.mark.parametrize("temperature", ["1", "0.5", "100", "inf"])
def test_any_temperature_from_the_command_line(composed, temperature):
    terms = instantiate(
        composed("objective=alm", f"objective.alm.temperature={temperature}").objective
    )
    assert terms["alm"].temperature == float(temperature)
    assert math.isfinite(terms["alm"].temperature) == (temperature != "inf")


@pytest.mark.parametrize("choice", ["keep", "replace"])
def test_the_donor_is_the_model_that_the_tokenizer_is_of(composed, choice):
    overrides = ["experiment=gemma_to_smollm2_tokenizer", f"tokenizer.special_tokens={choice}"]
    cfg = composed(*overrides, "embeddings=omp")
    assert cfg.embeddings.initialisation.donor == cfg.tokenizer.source.weights
    assert cfg.tokenizer.special_tokens == choice
    said = "embeddings.initialisation.donor=${tokenizer.source.weights}"
    assert composed(*overrides, "embeddings=omp", said) == cfg
    # another one takes its place whole
    folder = "{_target_: alm_lightning.models.weights.sources.Folder, path: x}"
    cfg = composed(*overrides, "embeddings=omp", f"embeddings.initialisation.donor={folder}")
    assert set(cfg.embeddings.initialisation.donor) == {"_target_", "path"}


def test_an_unknown_key_is_hydras_own_error(composed):
    with pytest.raises(ConfigCompositionException, match=r"Could not override 'budget.stepz'"):
        composed("budget.stepz=3")
    with pytest.raises(ConfigCompositionException, match=r"Could not override 'temperature'"):
        composed("temperature=3")


def test_an_unknown_option_is_hydras_own_error_and_lists_those_that_exist(composed):
    with pytest.raises(MissingConfigException, match="experiment/gemma_to_bits") as caught:
        composed("experiment=gemma_to_bits")
    assert "gemma_to_bytes" in str(caught.value)
    with pytest.raises(MissingConfigException, match="laptop"):
        composed("budget=huge")


def test_a_budget_picks_how_windows_are_made_and_another_may_be_picked(composed):
    def dataset(*overrides):
        return composed(*overrides).windows.dataset._target_.rpartition(".")[2]

    assert dataset() == dataset("budget=laptop") == "AllWindows"
    assert dataset("budget=paper") == "FirstWindow"
    assert dataset("budget=paper", "windows=cached") == "CachedWindows"
    assert dataset("windows=stream") == "StreamedWindows"


def test_a_student_picks_how_chats_are_written(composed):
    chat = composed("student=gemma2_2b_it").chat
    assert (chat.trained, chat.system) == ("all", "merge")
    assert chat.student_template == chat.teacher_template == "gemma"
    assert composed("student=hub", "student.source.hub_id=x").chat.student_template is None
    assert composed("chat=assistant").chat.trained == "assistant"
    assert composed("chat.trained=assistant").chat.teacher_template == "gemma"


def test_where_documents_and_windows_are_kept(monkeypatch):
    def cache_dir():
        with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            return compose("train", ["windows=cached"]).windows.dataset.folder

    for name in ("ALM_LIGHTNING_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache_dir() == "~/.cache/alm_lightning/windows"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_dir() == "/x/alm_lightning/windows"
    monkeypatch.setenv("ALM_LIGHTNING_CACHE", "/y")
    assert cache_dir() == "/y/windows"


@pytest.mark.parametrize("balance", ["gradmag", "gradmag_sampled", "gradnorm", "fixed"])
def test_each_balance_takes_the_default_objective(composed, balance):
    cfg = composed(f"balance={balance}")
    instantiate(cfg.balance).setup(list(cfg.objective))
