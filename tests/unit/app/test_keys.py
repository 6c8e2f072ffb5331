"""Errors of the library, as those who use the command line read them."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from tests.runs import REPOSITORY

from alm_lightning.app.keys import KEYS, TERMS, keys_in_errors, with_keys
from alm_lightning.distillation.checks import ABOVE_ZERO, AT_LEAST

ALM = {"temperature": 5, "threshold": 0.1, "debias": True, "divergence": "kl"}


@pytest.mark.parametrize(
    ("argument", "key"),
    [
        ("steps is -1: expected", "budget.steps is -1: expected"),
        ("Take share_body=false", "Take adapter.share_body=false"),
        ("raise student_length, or", "raise budget.student_length, or"),
        ("trainer.precision is 16", "trainer.precision is 16"),
        ("its last steps are", "its last steps are"),
        ("seed is -1", "seed is -1"),
        ("share_body=True (adapter.share_body)", "share_body=True (adapter.share_body)"),
        ("batch_sizes", "batch_sizes"),
        ("no file at '/runs/batch_size/none.jsonl'", "no file at '/runs/batch_size/none.jsonl'"),
        ("student_length-96/a.txt is gone", "student_length-96/a.txt is gone"),
        ("column 'batch_size' is not there", "column 'batch_size' is not there"),
        ("C:\\\\batch_size", "C:\\\\batch_size"),
        ("combine is 'sum': expected", "teacher.scores.combine is 'sum': expected"),
        ("teacher_weights of de has", "teacher.scores.weights of de has"),
        ("Lower batch_size.", "Lower budget.batch_size."),
        ("no file at '/my batch_size x/a.txt'", "no file at '/my batch_size x/a.txt'"),
        ("the teacher's steps=3 and ours", "the teacher's budget.steps=3 and ours"),
        ("DSKD: learning_rate is 0: expected", "objective.dskd.learning_rate is 0: expected"),
        ("ValueError('ALM: temperature is 0')", "ValueError('objective.alm.temperature is 0')"),
        ("Fixed: weights has ['a']", "balance.weights has ['a']"),
        (
            'Take HiddenStates(projection="linear"), or',
            "Take objective.hidden_states.projection=linear, or",
        ),
        ("MyALM: temperature is 0", "MyALM: temperature is 0"),
    ],
)
def test_arguments_become_keys(argument, key):
    assert with_keys(argument) == key


def test_an_error_keeps_its_kind_and_its_traceback():
    with (
        pytest.raises(FileNotFoundError, match=r"^budget\.steps is 0$") as caught,
        keys_in_errors(),
    ):
        raise FileNotFoundError("steps is 0")
    assert caught.traceback[-1].path.name == "test_keys.py"
    with pytest.raises(OSError, match="steps is full") as caught, keys_in_errors():
        raise OSError(28, "steps is full")
    assert caught.value.errno == 28


def test_the_cause_of_an_error_of_hydra_names_keys_too():
    with pytest.raises(InstantiationException) as caught, keys_in_errors():
        instantiate({"_target_": "alm_lightning.objectives.alm.ALM", **ALM | {"temperature": 0}})
    assert str(caught.value.__cause__).startswith("objective.alm.temperature is 0: expected")


def test_the_keys_are_those_of_the_configuration():
    def composed(*overrides):
        with initialize_config_dir(version_base="1.3", config_dir=str(REPOSITORY / "conf")):
            return compose("train", list(overrides))

    cfg = composed()
    names = {*KEYS, *AT_LEAST, *ABOVE_ZERO} - {"train_embeddings", "share_body"}
    of_stores = {"combine", "teacher_weights"}
    scores = composed("teacher=scores", "teacher.scores.path=x").teacher.scores
    assert {KEYS[name].removeprefix("teacher.scores.") for name in of_stores} <= set(scores)
    names -= of_stores
    for name in names - {"heldout_documents"}:
        OmegaConf.select(cfg, KEYS.get(name, name), throw_on_missing=True)
        parent, _, key = KEYS.get(name, name).rpartition(".")
        assert key in (OmegaConf.select(cfg, parent) if parent else cfg)
    assert {"train_embeddings", "share_body"} <= set(composed("adapter=lora").adapter)
    assert "heldout_documents" in composed("windows=stream").windows.documents


def test_the_terms_are_those_of_the_configuration():
    """Each class that has arguments is at the place that its errors name."""
    places = {}
    for name in ("objective", "balance"):
        for path in (REPOSITORY / "conf" / name).glob("*.yaml"):
            node = OmegaConf.to_container(OmegaConf.load(path))
            nodes = (
                {name: node} if name == "balance" else {f"{name}.{k}": v for k, v in node.items()}
            )
            for place, term in nodes.items():
                if isinstance(term, dict) and len(term) > 1 and "_target_" in term:
                    places[term["_target_"].rpartition(".")[2]] = place
    # GradNorm checks nothing
    assert {k: v for k, v in places.items() if k != "GradNorm"} == TERMS
