import copy
import math

import lightning as L
import pytest
import torch
from tests.distributed.small_run import make_module
from torch.utils.data import DataLoader

from alm_lightning.models.adapters import LowRank
from alm_lightning.models.own_vocabulary import OwnVocabulary
from alm_lightning.models.pair import Scorer
from alm_lightning.objectives.combine import Fixed, GradMag
from alm_lightning.objectives.next_token import NextToken
from alm_lightning.training import module as module_file
from alm_lightning.training.module import DistillModule

CONFIG = {
    "seed": 0,
    "corpus": {"name": "prose", "source": {"path": "prose.txt"}},
    "budget": {"steps": 8, "batch_size": 2, "micro_batch_size": 2, "learning_rate": 1e-3},
    "objective": {"alm": {"temperature": math.inf}, "next_token": None},
    "balance": {"_target_": "GradMag"},
    "student": {"name": "tiny", "dtype": "float32"},
    "tokenizer": {"keep": ["<end_of_turn>"]},
    "paths": {"output_dir": "first"},
}

# only losses are of interest here
pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step`")


@pytest.fixture
def make(scorers):
    def make(balance=None, schedule=lambda step: 1.0, gradient_clip=1.0):
        student, teacher = scorers
        return DistillModule(
            student=student,
            teacher=teacher,
            objective={"next_token": NextToken()},
            balance=balance or GradMag(),
            optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.5),
            schedule=schedule,
            gradient_clip=gradient_clip,
            config=CONFIG,
        )

    return make


@pytest.fixture
def fit(collator, rows):
    def fit(module, steps=1, callbacks=()):
        trainer = L.Trainer(
            accelerator="cpu",
            max_steps=steps,
            callbacks=list(callbacks),
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        batches = [collator(rows[:2])] * steps
        trainer.fit(module, DataLoader(batches, batch_size=None, collate_fn=list))
        return trainer

    return fit


# --- a step


class Rates(L.Callback):
    """The rate that was logged for each step."""

    def __init__(self):
        self.logged = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.logged.append(float(trainer.callback_metrics["train/lr"]))


def test_the_rate_that_is_logged_is_the_one_that_the_step_used(make, fit):
    rates = Rates()
    fit(make(schedule=lambda step: step / 2), steps=3, callbacks=[rates])
    assert rates.logged == [0.0, 0.25, 0.5]


def test_a_balance_without_norms_needs_no_matrix(make, fit, monkeypatch):
    def refuse(model):
        raise AssertionError("a matrix was looked for")

    monkeypatch.setattr(module_file, "last_matrix", refuse)
    assert fit(make(Fixed(weights={"next_token": 1.0}))).global_step == 1
    with pytest.raises(AssertionError, match="was looked for"):
        fit(make(GradMag()))


@pytest.mark.parametrize("gradient_clip", [1.0, None])
def test_a_gradient_that_is_not_finite_leaves_the_weights(make, fit, gradient_clip):
    module = make(Fixed(weights={"next_token": math.nan}), gradient_clip=gradient_clip)
    before = copy.deepcopy(module.student.state_dict())
    message = r"gradient of step 0 .*norm nan, with losses next_token \d.*Lower budget\.learning"
    with pytest.raises(FloatingPointError, match=message):
        fit(module)
    for name, value in module.student.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("gradient_clip", [1e-3, None])
def test_a_step_is_as_long_as_its_clipped_gradient(make, fit, gradient_clip):
    module = make(gradient_clip=gradient_clip)
    before = [parameter.detach().clone() for parameter in module.trained_parameters()]
    norm = float(fit(module).callback_metrics["train/gradient_norm"])
    moved = [p - old for p, old in zip(module.trained_parameters(), before, strict=True)]
    length = float(torch.nn.utils.get_total_norm([change.detach() for change in moved]))
    assert norm > 1e-3
    assert length == pytest.approx(0.5 * (gradient_clip or norm), rel=1e-3)


# --- going on from a checkpoint


def checkpoint_of(module, config):
    return {"config": config, "state_dict": module.state_dict()}


def test_the_same_settings_go_on(make):
    module = make()
    other = copy.deepcopy(CONFIG)
    other["paths"]["output_dir"] = "second"
    other["budget"]["micro_batch_size"] = 1
    other["student"]["dtype"] = "bfloat16"
    module.on_load_checkpoint(checkpoint_of(module, other))


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("seed", 1, r"seed: 1 then, 0 now"),
        ("corpus.source.path", "other.txt", r"corpus\.source\.path: 'other\.txt' then, 'prose\."),
        ("budget.learning_rate", 1e-4, r"budget\.learning_rate: 0\.0001 then, 0\.001 now"),
        ("objective.alm.temperature", 5, r"objective\.alm\.temperature: 5 then, inf now"),
        ("objective.next_token", {"a": 1}, r"objective\.next_token: 'not set' then, None now"),
        ("tokenizer.keep", [], r"tokenizer\.keep: \[\] then, \['<end_of_turn>'\] now"),
    ],
)
def test_other_settings_are_refused(make, path, value, line):
    module, other = make(), copy.deepcopy(CONFIG)
    *parents, last = path.split(".")
    node = other
    for name in parents:
        node = node[name]
    node[last] = value
    with pytest.raises(ValueError, match=rf"(?s){line}.*Give the settings of the run"):
        module.on_load_checkpoint(checkpoint_of(module, other))


def test_all_that_differs_is_listed(make):
    module = make()
    with pytest.raises(ValueError, match="other settings") as caught:
        module.on_load_checkpoint(
            checkpoint_of(module, CONFIG | {"seed": 1, "student": {"name": "large"}})
        )
    assert "seed" in str(caught.value)
    assert "student.name: 'large' then, 'tiny' now" in str(caught.value)
    assert "student.dtype" not in str(caught.value)


def test_tokens_of_the_teacher_are_not_guessed_where_a_checkpoint_does_not_know(make, fit):
    module = make()
    module.on_load_checkpoint({"config": CONFIG, "state_dict": module.state_dict()})
    trainer = fit(module)
    assert module.num_teacher_tokens is None
    assert "train/teacher_tokens" not in trainer.callback_metrics


def test_a_frozen_matrix_with_two_names_is_in_no_checkpoint(scorers):
    _, teacher = scorers
    make_student = OwnVocabulary(dtype=torch.float32)
    model = make_student(teacher.model, old=teacher.view, new=teacher.view, share_body=True)
    LowRank(rank=2, alpha=2, share_body=True, train_embeddings=False).adapt(model)
    module = make_module((Scorer(model, teacher.view), teacher), {"next_token": NextToken()})
    own = module.state_dict()
    tied = {"student.model.embed_tokens.weight", "student.lm_head.weight"}
    assert tied <= own.keys()
    checkpoint = {"state_dict": dict(own)}
    module.on_save_checkpoint(checkpoint)
    saved = checkpoint["state_dict"]
    assert {name for name in saved if ".lora_" in name} == saved.keys()
    # earlier versions have kept the output matrix
    more = {"student.lm_head.weight": own["student.lm_head.weight"]}
    for state in (saved, saved | more):
        loaded = checkpoint | {"state_dict": dict(state)}
        module.on_load_checkpoint(loaded)
        module.load_state_dict(loaded["state_dict"])
