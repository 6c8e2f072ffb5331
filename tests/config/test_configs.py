"""Every configuration that conf/ can express: it composes, and what it names can be made."""

import json
import math
from pathlib import Path

import datasets
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException, MissingConfigException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError
from transformers import Gemma2Config, Gemma2ForCausalLM

from alm_lightning.app.train import train
from alm_lightning.models.byte_lm import ByteForCausalLM
from alm_lightning.models.byte_student import byte_config

CONF = Path(__file__).parents[2] / "conf"
NOT_OPTIONS = ("hydra", "experiment", "objective/terms")
"""Folders whose files are not chosen for themselves: Hydra's own settings, differences from other
groups, and the terms that objectives are put together from."""

REQUIRED = {
    "corpus/text": ["corpus.source.path=x.txt"],
    "corpus/jsonl": ["corpus.source.path=x.jsonl"],
    "corpus/messages": ["corpus.source.path=x.jsonl"],
    "corpus/parquet": ["corpus.source.path=x.parquet"],
    "corpus/hub": ["corpus.source.name=owner/data"],
    "student/folder": ["student.source.path=x"],
    "student/hub": ["student.source.hub_id=owner/model"],
}
"""Values that an option asks its user for."""

PAPER_SIZE = ["student=gemma2_2b_it", "corpus=tulu3", "budget=paper", "trainer=gpu"]


def names(group):
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def groups():
    folders = {file.parent.relative_to(CONF).as_posix() for file in CONF.glob("*/**/*.yaml")}
    return sorted(folders - set(NOT_OPTIONS))


OPTIONS = [f"{group}/{name}" for group in groups() for name in names(group)]
EXPERIMENTS = sorted(
    file.relative_to(CONF / "experiment").with_suffix("").as_posix()
    for file in (CONF / "experiment").glob("**/*.yaml")
)


@pytest.fixture
def composed(tmp_path):
    """Composes as the command line does, with an output folder of the test's own."""

    def compose_it(*overrides):
        with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            own = [f"paths.output_dir={tmp_path}", f"cache_dir={tmp_path}/cache"]
            return compose("train", [*own, *overrides])

    return compose_it


def keys(node, prefix=""):
    """Every dotted key of a configuration, unresolved."""
    for key in node:
        yield f"{prefix}{key}"
        if OmegaConf.is_dict(node) and OmegaConf.is_dict(node._get_node(key)):
            yield from keys(node[key], f"{prefix}{key}.")


@pytest.mark.parametrize("budget", names("budget"))
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiment_composes_with_every_budget(composed, experiment, budget):
    cfg = composed(f"experiment={experiment}", f"budget={budget}")
    # nothing is left to be said, and every reference leads somewhere
    assert not OmegaConf.missing_keys(cfg)
    plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert plain["name"] == experiment
    assert plain["trainer"]["max_steps"] == plain["budget"]["steps"] > 0


def test_without_a_word_it_is_gemma_to_bytes_on_a_quick_budget(composed):
    said = composed("experiment=gemma_to_bytes", "budget=quick")
    assert composed() == said
    assert (said.objective.alm.temperature, said.objective.alm.threshold) == (5, 0.1)
    assert said.objective.alm.divergence == "kl"


@pytest.mark.parametrize("option", OPTIONS)
def test_option_composes_and_can_be_made(composed, option):
    group, _, name = option.rpartition("/")
    cfg = composed(f"{group}={name}", *REQUIRED.get(option, []))
    OmegaConf.resolve(cfg)
    if option == "trainer/gpu":
        # Lightning refuses to make a trainer for a device that is not there
        assert (cfg.trainer.accelerator, cfg.trainer.devices) == ("gpu", -1)
        return
    # app hands the trainer its loggers (without any, Lightning would choose one) and the precision
    handed = {"logger": False, "precision": "32-true"} if group == "trainer" else {}
    assert group != "trainer" or cfg.trainer.precision == "auto"
    made = instantiate(cfg[group], **handed)
    assert made is not None
    assert not isinstance(made, DictConfig) or not any("_target_" in key for key in keys(made))


@pytest.mark.parametrize("option", sorted(REQUIRED))
def test_what_an_option_asks_for_is_missing_until_it_is_given(composed, option):
    group, _, name = option.rpartition("/")
    (required,) = REQUIRED[option]
    key = required.partition("=")[0]
    with pytest.raises(InterpolationToMissingValueError, match=f"Missing mandatory value: {key}"):
        OmegaConf.to_container(composed(f"{group}={name}"), resolve=True, throw_on_missing=True)


@pytest.mark.parametrize("temperature", ["1", "0.5", "100", "inf"])
def test_any_temperature_from_the_command_line(composed, temperature):
    terms = instantiate(composed(f"objective.alm.temperature={temperature}").objective)
    assert terms["alm"].temperature == float(temperature)
    assert math.isfinite(terms["alm"].temperature) == (temperature != "inf")


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
    chat = composed(*PAPER_SIZE).chat
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


def test_paper_size_is_the_published_recipe(composed):
    cfg = composed(*PAPER_SIZE)
    assert not OmegaConf.missing_keys(cfg)
    budget = cfg.budget
    assert (budget.steps, budget.batch_size, budget.learning_rate) == (20_000, 32, 3e-5)
    assert (budget.student_length, budget.teacher_length) == (2048, 512)
    assert cfg.schedule.warmup_share * budget.steps == 2000
    assert (cfg.optimizer.lr, cfg.optimizer.weight_decay) == (3e-5, 0)
    assert cfg.corpus.source.name == "allenai/tulu-3-sft-mixture"
    assert cfg.student.source.hub_id == cfg.teacher.source.hub_id == "google/gemma-2-2b-it"
    assert set(cfg.objective) == {"alm", "next_token", "hidden_states"}


def test_a_student_of_paper_size_can_be_built(composed):
    cfg = composed(*PAPER_SIZE)
    # Gemma 2 2B's dimensions, by name: the defaults of transformers may come to differ
    body = Gemma2Config(
        hidden_size=2304,
        num_hidden_layers=26,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=256,
        intermediate_size=9216,
        vocab_size=256_000,
        final_logit_softcapping=30.0,
        attn_logit_softcapping=50.0,
        attn_implementation=cfg.student.attention,
    )
    num_special = len(["<bos>", "<eos>", "<pad>", *cfg.student.special_tokens])
    config = byte_config(
        body,
        num_special=num_special,
        expansion_rows=body.vocab_size if cfg.embeddings.expansion else 0,
        expansion_nodes=1_000_000,
        expansion_depth=64,
    )
    with torch.device("meta"):
        student = ByteForCausalLM(config)
    sizes = {name: weight.numel() for name, weight in student.named_parameters()}
    table = sizes.pop("model.expansion.embedding.weight")
    assert table == 256_000 * 2304
    # what Gemma 2 2B has, without its embeddings, and an input and an output row for each byte
    in_all = 2_614_341_888
    assert sum(sizes.values()) == in_all - table + 2 * (256 + num_special) * 2304
    assert (config.final_logit_softcapping, config.vocab_size) == (30.0, 261)
    # sdpa would leave out Gemma 2's soft-capping of attention
    assert student.model.body.config._attn_implementation == "eager"


@pytest.fixture
def tiny_gemma2(tmp_path, metaspace_tokenizer):
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=len(metaspace_tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=64,
        max_position_embeddings=512,
        final_logit_softcapping=30.0,
        attn_logit_softcapping=50.0,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    folder = tmp_path / "tiny-gemma2"
    Gemma2ForCausalLM(config).save_pretrained(folder)
    metaspace_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def chats(monkeypatch):
    """A few chats in place of the hub's."""

    def load_dataset(name, config, *, split, revision, streaming):
        assert (name, split) == ("allenai/tulu-3-sft-mixture", "train")
        turns = [
            [
                {"role": "user", "content": f"What is {number} and {number}?"},
                {"role": "assistant", "content": f"It is {2 * number}."},
            ]
            for number in range(12)
        ]
        return datasets.Dataset.from_dict({"messages": turns})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)


# told to the user by Lightning, although nothing is wrong: no validation within the run
def test_paper_size_trains_a_step_of_a_tiny_gemma2(composed, tiny_gemma2, chats, tmp_path):
    cfg = composed(
        "student=folder",
        f"student.source.path={tiny_gemma2}",
        "student.attention=eager",
        "student.special_tokens=['<start_of_turn>','<end_of_turn>']",
        "corpus=tulu3",
        "corpus@corpus_other=tulu3",
        # a tiny tokenizer has no template of its own
        "chat.student_template=gemma",
        "chat.teacher_template=gemma",
        "budget=paper",
        "budget.steps=1",
        "budget.validate_every=null",
        "trainer=cpu",
        "sample_prompts=0",
    )
    summary = train(cfg)
    assert summary["steps"] == 1
    assert summary["chunks"]["coverage"] == 1.0
    exported = json.loads((tmp_path / "model/config.json").read_text(encoding="utf-8"))
    assert exported["body_config"]["final_logit_softcapping"] == 30.0
    assert exported["body_config"]["model_type"] == "gemma2"
    assert math.isfinite(summary["bits_per_byte"]["student_after"])
