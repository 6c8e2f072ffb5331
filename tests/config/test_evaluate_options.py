"""evaluate.py's configuration: every harness composes, is built, and says what it needs."""

import json

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tests.runs import REPOSITORY

from alm_lightning.app.evaluate.arguments import model_arguments
from alm_lightning.app.evaluate.harnesses import plan_harnesses

MODELS = REPOSITORY / "conf" / "model"
NAMES = sorted(path.stem for path in (REPOSITORY / "conf" / "harness").glob("*.yaml"))


def build_harnesses(cfg, models):
    plans = plan_harnesses(cfg.harness, models, cfg.dtype, cfg.device)
    return {name: plan.harness for name, plan in plans.items()}


def composed(*overrides):
    with initialize_config_dir(version_base="1.3", config_dir=str(REPOSITORY / "conf")):
        return compose("evaluate", [*overrides])


@pytest.fixture
def needs(tmp_path):
    """What some harnesses can't do without."""
    problem = {"question": "1+1?", "answer": "#### 2"}
    (tmp_path / "problems.jsonl").write_text(json.dumps(problem) + "\n", "utf-8")
    return {
        "blimp": ["harness.blimp.path=pairs.jsonl"],
        "compare": ["harness.compare.teacher=smollm2_135m"],
        "draft": ["harness.draft.target=qwen2_5_coder_0_5b"],
        "generate": ["prompt=Once"],
        "gsm8k": [f"harness.gsm8k.path={tmp_path / 'problems.jsonl'}"],
        "lm_eval": ["harness.lm_eval.tasks=[arc_easy]"],
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_harness_is_built(name, needs):
    harnesses = build_harnesses(composed(f"harness={name}", *needs.get(name, [])), MODELS)
    assert list(harnesses) == [name]


def test_a_batch_size_is_kept_where_texts_are_sampled(needs):
    def settings(*overrides):
        cfg = composed("harness=generate", *needs["generate"], *overrides)
        (plan,) = plan_harnesses(cfg.harness, MODELS, cfg.dtype, cfg.device).values()
        return plan.settings

    assert "batch_size" not in settings()
    sampled = settings("harness.generate.temperature=1", "harness.generate.batch_size=4")
    assert sampled["batch_size"] == 4


def test_several_are_built_in_their_order(needs):
    chosen = ["run", "generate", "blimp"]
    said = [override for name in chosen for override in needs.get(name, [])]
    harnesses = build_harnesses(composed(f"harness=[{','.join(chosen)}]", *said), MODELS)
    assert list(harnesses) == chosen


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("bits_per_byte", "run")])
def test_a_harness_names_what_it_needs(name):
    with pytest.raises(Exception, match=r"harness\.|prompt"):
        build_harnesses(composed(f"harness={name}"), MODELS)


@pytest.mark.parametrize(
    ("argument", "node"),
    [
        ("model=my run/a=b's (1)", {"path": "my run/a=b's (1)"}),
        ("model=[a,b]", {"path": ["a", "b"]}),
        ("model='quoted'", {"path": "quoted"}),
        ("model=org/name", {"path": "org/name"}),
        ("model=2026-11-25_10-00-00", {"path": "2026-11-25_10-00-00"}),
        ("model=ensemble", {"kind": "ensemble"}),
        ("model=123", {"path": "123"}),
        ("model=C:\\\\models", {"path": "C:\\\\models"}),
    ],
)
def test_a_model_is_what_a_user_typed(argument, node):
    found = OmegaConf.to_container(composed(*model_arguments([argument])).model)
    assert found == found | node


@pytest.mark.parametrize(
    "prompt",
    [
        "Hello, world",
        "It's late",
        'Say "hi"',
        "a=b",
        "def f(x):",
        "42",
        "null",
        "[x]",
        "{a: b}",
        "Once (upon) a time?",
        "C:\\dir\\",
        "it\\'s",
        "100 % # b",
        "a\\\\'b\\\\",
        "costs ${5}",
        "${seed}",
        "a\\${b}\\\\${c} d\\e",
        "it's ${a'b",
    ],
)
def test_a_prompt_is_the_text_that_a_user_typed(prompt):
    cfg = composed("harness=generate", *model_arguments([f"prompt={prompt}"]))
    assert cfg.prompt == prompt
    assert build_harnesses(cfg, MODELS)["generate"].prompt == prompt


def test_a_quoted_prompt_is_hydras_own():
    assert composed(*model_arguments(["prompt='a, b'"])).prompt == "a, b"
    for given in ("'costs ${5}'", "'costs \\${5}'", '"costs ${5}"'):
        assert composed(*model_arguments([f"prompt={given}"])).prompt == "costs ${5}"


def test_other_arguments_stay_as_they_are():
    given = ["harness=blimp", "model.weights=fit", "--cfg", "job", "model"]
    assert model_arguments(given) == given
