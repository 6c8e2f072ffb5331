"""The suite that shows what models say: records, resuming, and what a reader sees."""

import json
from dataclasses import replace

import pytest
from tests.conftest import tiny_gemma3
from tests.unit.evaluation.ensemble.tiny_members import opinionated
from tests.unit.tokenization.chat.test_template import TOKENS, view_with

from alm_lightning.evaluation.generation.prompts import prompt_ids
from alm_lightning.evaluation.generation.sampling import Sampling
from alm_lightning.evaluation.generation.texts import generate_texts
from alm_lightning.evaluation.store import Store
from alm_lightning.evaluation.suites.generate import Generate

SETTINGS = {
    "prompt": None,
    "prompts": None,
    "chat": False,
    "max_new_tokens": 12,
    "max_new_bytes": None,
    "temperature": 0,
    "top_p": 1,
    "seed": 0,
}
GIVEN = ["The quick", "Once upon", "def add("]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in GIVEN), "utf-8")
    return str(path)


@pytest.fixture
def evaluated(evaluated_models):
    opinionated(evaluated_models["gemma"].model)
    return evaluated_models["gemma"]


def test_a_prompt_is_gone_on_with_before_the_readers_eyes(evaluated):
    shown = []
    harness = Generate(**SETTINGS | {"prompt": "The quick"}, write=shown.append)
    (key,) = harness.prepare()
    ((found, record),) = harness.records(evaluated, [key])
    ids = prompt_ids(evaluated, "The quick")
    (expected,) = generate_texts(evaluated, [ids], Sampling(12))
    assert found == key
    assert record == {
        "prompt": "The quick",
        "continuation": expected.text,
        "num_bytes": len(expected.text.encode()),
        "num_tokens": expected.num_tokens,
        "stopped": expected.stopped,
    }
    assert "".join(shown) == f"\ngemma\nThe quick{expected.text}\n"
    # piece by piece
    assert len(shown) > 3


def test_records_are_the_same_after_a_stop(evaluated, file, tmp_path):
    settings = SETTINGS | {"prompts": file, "temperature": 1.5, "seed": 7}
    whole = Generate(**settings, write=lambda _: None)
    keys = whole.prepare()
    assert len(keys) == 3
    expected = dict(whole.records(evaluated, keys))
    store = Store(tmp_path / "store", {})
    for part in (keys[:1], keys[1:]):
        again = Generate(**settings, write=lambda _: None)
        assert again.prepare() == keys
        list(store.add(again, evaluated, part))
    assert store.records == json.loads(json.dumps(expected))
    assert len({record["continuation"] for record in expected.values()}) == 3
    result = whole.result(store.records)
    lengths = [record["num_bytes"] for record in expected.values()]
    assert result.figures["length"].value == pytest.approx(sum(lengths) / 3)
    assert result.figures["length"].unit == "bytes"
    assert result.figures["stopped"].lower_is_better is None
    assert [sample["prompt"] for sample in result.samples] == GIVEN


def test_a_chat_is_shown_with_its_turns(evaluated_models):
    view = view_with(*TOKENS["chatml"])
    evaluated = replace(evaluated_models["gemma"], model=tiny_gemma3(view.num_tokens), view=view)
    shown = []
    harness = Generate(**SETTINGS | {"prompt": "Hi", "chat": True}, write=shown.append)
    ((_, record),) = harness.records(evaluated, harness.prepare())
    assert record["prompt"] == [{"role": "user", "content": "Hi"}]
    assert "".join(shown).startswith("\ngemma\nuser: Hi\nassistant: ")


def test_without_a_place_for_it_text_goes_to_the_terminal(evaluated, capsys):
    harness = Generate(**SETTINGS | {"prompt": "The quick"})
    ((_, record),) = harness.records(evaluated, harness.prepare())
    assert capsys.readouterr().out == f"\ngemma\nThe quick{record['continuation']}\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "has neither of prompt and prompts"),
        ({"prompt": "a", "prompts": "b"}, "has both prompt and prompts"),
        ({"prompt": "a", "max_new_tokens": None}, "there is no length"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Generate(**SETTINGS | changes)
