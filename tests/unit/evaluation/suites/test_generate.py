"""The suite that shows what models say: records, resuming, and what a reader sees."""

import json
from dataclasses import replace

import pytest
from tests.conftest import tiny_gemma3
from tests.unit.evaluation.ensemble.tiny_members import opinionated
from tests.unit.tokenization.chat.test_template import TOKENS, view_with

from alm_lightning.corpus.document import CorpusError
from alm_lightning.corpus.sources.columns import Messages
from alm_lightning.corpus.sources.files import JsonLines
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
    "batch_size": 1,
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


def test_batches_write_the_same_greedy_texts(evaluated, file):
    one = Generate(**SETTINGS | {"prompts": file}, write=lambda _: None)
    shown = []
    batch = Generate(**SETTINGS | {"prompts": file, "batch_size": 2}, write=shown.append)
    keys = one.prepare()
    assert batch.prepare() == keys
    expected, found = (dict(each.records(evaluated, keys)) for each in (one, batch))
    assert found == expected
    assert list(found) == keys
    whole = "".join(f"\ngemma\n{r['prompt']}{r['continuation']}\n" for r in found.values())
    assert "".join(shown) == whole


def test_sampled_batches_are_the_same_after_a_stop(evaluated, file):
    settings = SETTINGS | {"prompts": file, "batch_size": 2, "temperature": 1.5}
    suite = Generate(**settings, write=lambda _: None)
    keys = suite.prepare()
    expected = dict(suite.records(evaluated, keys))
    # stopped within the first batch
    for part in (keys[1:], keys[1:2], keys[2:]):
        found = dict(suite.records(evaluated, part))
        assert list(found) == part
        assert found == {key: expected[key] for key in part}


def test_answers_that_ended_are_chats_to_train_on(tmp_path):
    asked = [{"role": "user", "content": "Hi"}]
    path = tmp_path / "prompts.jsonl"
    # a chat of a corpus ends with an answer, which is not what is asked
    rows = [[*asked, {"role": "assistant", "content": "Hello"}]] * 2 + [asked] * 2
    path.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    harness = Generate(**SETTINGS | {"prompts": str(path)})
    keys = harness.prepare()
    assert list(harness.prompts.values()) == [asked] * 4

    def record(text, stopped, prompt=asked):
        sizes = {"num_bytes": len(text), "num_tokens": 2}
        return {"prompt": prompt, "continuation": text, "stopped": stopped, **sizes}

    store = Store(tmp_path / "store", {})
    store.folder.mkdir()
    texts = [("Yes.", True), ("No", False), ("  ", True), ("Ünï\nx", True)]
    store.records = {key: record(*text) for key, text in zip(keys, texts, strict=True)}
    store.finish(harness, keys, {})
    corpus = JsonLines(path=str(store.folder / "chats.jsonl"), column="messages", reader=Messages())
    chats = [[(m.role, m.content) for m in chat.messages] for chat in corpus.documents()]
    assert chats == [
        [("user", "Hi"), ("assistant", "Yes.")],
        [("user", "Hi"), ("assistant", "Ünï\nx")],
    ]
    # of texts there are none
    store.records = {key: record("Yes.", True, prompt="Once") for key in keys}
    assert harness.result(store.records).chats == []
    nothing = tmp_path / "nothing.jsonl"
    nothing.write_text(json.dumps({"messages": [{"role": "assistant", "content": "a"}]}))
    with pytest.raises(CorpusError, match="nothing but answers"):
        Generate(**SETTINGS | {"prompts": str(nothing)}).prepare()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": "a", "batch_size": 0}, r"batch_size is 0 \(harness.generate.batch_size\)"),
        ({}, "has neither of prompt and prompts"),
        ({"prompt": "a", "prompts": "b"}, "has both prompt and prompts"),
        ({"prompt": "a", "max_new_tokens": None}, "there is no length"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Generate(**SETTINGS | changes)
