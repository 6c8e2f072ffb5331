"""A store of real weights teaches what the weights teach: each objective's losses and gradients.

ALM_LIGHTNING_OBJECTIVES=all compares all objectives, and not three, which takes half an hour; with
-o log_cli=true -o log_cli_level=INFO it says how large the differences are.
"""

import copy
import json
import logging
import os

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from tests.runs import REPOSITORY

from alm_lightning.app.hydra.model_groups import register_models
from alm_lightning.app.scoring import score_corpus
from alm_lightning.app.train.build import plan_of
from alm_lightning.models.pair import Scorer
from alm_lightning.models.structure import last_matrix
from alm_lightning.objectives.combine import GradMag
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, SideFacts
from alm_lightning.training.step import DistillStep

log = logging.getLogger(__name__)
pytestmark = pytest.mark.slow

CONF = REPOSITORY / "conf"
TEXT = (
    "The ferry number {} left the harbour at {}:30, and nobody on board had seen the storm coming "
    "from behind the hills. It was a quiet evening in May."
)
CHAT = [("user", "How many apples are {} and {} apples?"), ("assistant", "They are {}, I think.")]
EXACT = [
    "scores.kinds=[next_byte,top_k,hidden]",
    "scores.dtype=float32",
    "scores.least_share=0",
    "scores.top=null",
]
COMMON = [
    "trainer=cpu",
    "trainer.precision=32-true",
    "student.dtype=float32",
    "teacher.dtype=float32",
    "corpus@corpus_other=jsonl",
    "budget.batch_size=2",
    "budget.micro_batch_size=2",
    "budget.steps=1",
    "budget.evaluation_windows=1",
    "windows.cut_bytes=100",
    "budget.student_length=160",
    "budget.teacher_length=160",
    "num_workers=0",
]
CASES = {
    "Gemma to bytes, texts": ["experiment=gemma_to_bytes", "corpus=jsonl"],
    "Gemma to bytes, packed": ["experiment=gemma_to_bytes", "corpus=jsonl", "packing=first_fit"],
    "SmolLM2 to Gemma, chats": [
        "experiment=smollm2_to_gemma_chat",
        "corpus=messages",
        "budget.learning_rate=1e-4",
    ],
}
SOME = ("alm_next_token", "next_byte", "bpm")
NOT_STORED = ("dskd", "policy_gradient", "next_token")


def objectives(case):
    if os.environ.get("ALM_LIGHTNING_OBJECTIVES") != "all":
        return SOME
    names = sorted(path.stem for path in (CONF / "objective").glob("*.yaml"))
    return [name for name in names if name not in NOT_STORED]


def composed(name, overrides):
    register_models(CONF)
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return compose(name, overrides)


@pytest.fixture
def corpora(tmp_path):
    texts = [json.dumps({"text": TEXT.format(n, n)}) for n in range(10)]
    chats = [
        [{"role": role, "content": said.format(n, n, n)} for role, said in CHAT] for n in range(10)
    ]
    files = {"text": texts, "chat": [json.dumps({"messages": chat}) for chat in chats]}
    files["other"] = [json.dumps({"text": f"def add_{n}(): return {n}\n"}) for n in range(3)]
    for name, lines in files.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def step_of(student, teacher, terms, batches):
    """Losses and gradients of one step."""
    model = copy.deepcopy(student.model).train()
    balance = GradMag()
    balance.setup(list(terms))
    step = DistillStep(
        student=Scorer(model, student.view),
        teacher=teacher,
        terms=copy.deepcopy(terms),
        balance=balance,
        compared_at=lambda: last_matrix(model),
        reduce=lambda value, op="sum": value,
        backward=lambda loss, exchange: loss.backward(),
        scale=1.0,
    )
    result = step(batches)
    gradient = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return {k: float(v) for k, v in result.losses.items()}, torch.cat(gradient)


@pytest.mark.parametrize("case", CASES)
def test_one_step(corpora, case):
    kind = "chat" if "chats" in case else "text"
    said = [
        *CASES[case],
        *COMMON,
        f"corpus.source.path={corpora / kind}.jsonl",
        f"corpus_other.source.path={corpora / 'other'}.jsonl",
        f"paths.output_dir={corpora / 'run'}",
    ]
    cfg = composed("train", said)
    source = instantiate(cfg.teacher.source)
    if (why := source.available()) is not None:
        pytest.skip(why)
    store = corpora / "store"
    score_corpus(composed("score", [*said, f"scores.path={store}", *EXACT]))
    plan = plan_of(cfg)
    documents = plan.data.read()
    student, teacher = plan.pair.build("cpu")
    teacher.freeze()
    # of a store there is neither a type of weights nor an attention
    kept = [each for each in said if not each.startswith("teacher.")]
    stored_plan = plan_of(
        composed("train", [*kept, "teacher=scores", f"teacher.scores.path={store}"])
    )
    stored = stored_plan.pair.teacher.load("teacher", "cpu")
    data = stored_plan.data.pair(documents, student, stored)
    windows = [data.train.items[index] for index in range(2)]
    batches = data.collator(windows)
    sides = (SideFacts(s.view, s.hidden_size, s.embedding_size) for s in (student, teacher))
    pair = PairFacts(*sides)
    for name in objectives(case):
        terms = {
            key: instantiate(node, **({"projection": "linear"} if key == "hidden_states" else {}))
            for key, node in composed("train", [f"objective={name}"]).objective.items()
        }
        try:
            for term in terms.values():
                torch.manual_seed(0)
                term.setup(pair)
        except ValueError as error:
            log.info("%s, %s: not for this pair: %s", case, name, error)
            assert os.environ.get("ALM_LIGHTNING_OBJECTIVES") == "all"
            continue
        (losses, gradient), (theirs, their_gradient) = (
            step_of(student, each, terms, batches) for each in (teacher, stored)
        )
        error = max(abs(theirs[k] - v) / max(abs(v), 1e-6) for k, v in losses.items())
        difference = float((gradient - their_gradient).norm() / gradient.norm())
        log.info("%s, %s: loss %.1e, gradient %.1e", case, name, error, difference)
        assert all(value > 1e-4 for value in losses.values())
        assert error < 1e-5
        assert difference < 1e-4
