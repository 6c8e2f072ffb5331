"""The library's defaults are those of the command line."""

import inspect

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from tests.config.conftest import CONF, composed  # noqa: F401  (a fixture)

from alm_lightning.app.keys import KEYS
from alm_lightning.app.train.build import data_plan
from alm_lightning.data.pairing import ALL_TRAINED
from alm_lightning.distillation import options
from alm_lightning.distillation.distill import distill
from alm_lightning.distillation.models import StoredModel
from alm_lightning.distillation.options import OPTIMIZER, TRAINER, WARMUP_SHARE
from alm_lightning.distillation.texts import SEPARATOR
from alm_lightning.models.weights.sources import Folder

DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(distill).parameters.items()
    if parameter.default is not inspect.Parameter.empty
}
OWN = {"special_tokens", "stop_tokens", "trainer", "callbacks", "logger", "progress", "output_dir"}
"""Arguments whose defaults are the library's own."""
CHOSEN = ("objective", "balance", "alignment", "adapter", "speed")


def test_numbers_and_names(composed):  # noqa: F811
    stored = ("teacher=scores", "teacher.scores.path=x")
    cfg = composed("student=folder", "student.source.path=x", *stored)
    keys = KEYS | {"dtype": "student.dtype"}
    compared = {
        name: default
        for name, default in DEFAULTS.items()
        if name not in OWN and default is not None and name not in CHOSEN
    }
    assert len(compared) > 14
    for name, default in compared.items():
        assert default == OmegaConf.select(cfg, keys.get(name, name)), name
    assert DEFAULTS["validate_every"] is cfg.budget.validate_every is None
    assert data_plan(cfg).corpus.split_seed == 0
    assert data_plan(cfg).corpus.split_by == cfg.corpus.split_by


def test_names_of_options():
    groups = OmegaConf.load(CONF / "train.yaml").defaults
    chosen = {
        key: value for entry in groups if not isinstance(entry, str) for key, value in entry.items()
    }
    for name in CHOSEN:
        assert DEFAULTS[name] == chosen[name]


def plain(made):
    settings = {k: v for k, v in vars(made).items() if not k.startswith("_") and k != "map"}
    return type(made), {k: plain(v) if hasattr(v, "__dict__") else v for k, v in settings.items()}


@pytest.mark.parametrize(
    ("group", "makers"),
    [
        ("alignment", options.ALIGNMENTS),
        ("adapter", options.ADAPTERS),
        ("balance", options.BALANCES),
        ("speed", options.SPEEDS),
        ("embeddings", options.embeddings(seed=0)),
    ],
    ids=["alignment", "adapter", "balance", "speed", "embeddings"],
)
def test_objects_by_name(composed, group, makers):  # noqa: F811
    for name, make in makers.items():
        made = instantiate(composed(f"{group}={name}")[group])
        assert plain(made) == plain(make()), name


def test_objectives(composed):  # noqa: F811
    for name in options.OBJECTIVES:
        cfg = composed(f"objective={name}")
        terms = options.terms(name)
        assert list(terms) == list(cfg.objective)
        assert {k: plain(v) for k, v in terms.items()} == {
            k: plain(instantiate(node)) for k, node in cfg.objective.items()
        }


def test_trainer_optimizer_and_what_has_no_argument(composed):  # noqa: F811
    cfg = composed("corpus=text", "corpus.source.path=x", "student=folder", "student.source.path=x")
    trainer = OmegaConf.to_container(cfg.trainer, resolve=True)
    given = {"accelerator", "devices", "precision", "max_steps", "limit_train_batches"}
    given |= {"val_check_interval", "plugins", "default_root_dir", "_target_", "num_nodes"}
    assert {k: v for k, v in trainer.items() if k not in given} == dict(TRAINER)
    optimizer = OmegaConf.to_container(cfg.optimizer, resolve=True)
    assert {k: optimizer[k] for k in OPTIMIZER} | {"betas": tuple(optimizer["betas"])} == OPTIMIZER
    assert cfg.schedule.warmup_share == WARMUP_SHARE
    assert cfg.corpus.source.separator == SEPARATOR
    assert vars(instantiate(cfg.chat)) == vars(ALL_TRAINED)
    model = StoredModel(name="", licence="", source=Folder(path="x"))
    assert (model.dtype, model.attention) == (cfg.student.dtype, cfg.student.attention)
    library = instantiate(cfg.windows.documents), instantiate(cfg.packing)
    assert [type(each).__name__ for each in library] == ["Stored", "OnePerRow"]
