"""Drafts of tiny models for tiny models."""

import json
from dataclasses import replace

import pytest
import torch
from tests.conftest import tiny_gemma3
from tests.unit.evaluation.conftest import Listed, evaluated_of

from alm_lightning.corpus.chat import Chat
from alm_lightning.corpus.document import CorpusError, Document
from alm_lightning.evaluation.suites.draft import Draft

TEXTS = Listed([Document("The quick brown fox jumps.", "a"), Document("Ünïcödé — 12 € 🙂", "b")])


def harness(target, **settings):
    given = {
        "source": TEXTS,
        "prompts": None,
        "chat": False,
        "prompt_bytes": 12,
        "max_prompts": None,
        "max_new_tokens": 12,
        "draft_tokens": 5,
        "across": [],
        "prompt_lookup": False,
    }
    return Draft(load_target=lambda: target, target="target", **given | settings)


def measured(draft, target, **settings):
    suite = harness(target, **settings)
    records = dict(suite.records(draft, suite.prepare()))
    # as the store has them
    records = json.loads(json.dumps(records, allow_nan=False))
    return records, suite.result(records)


def endless(model, view, name):
    """A model that nothing stops, so that every text is as long as it may be."""
    return replace(evaluated_of(model.eval(), view, name), stop_ids=())


def noisy(model, scale, seed=1):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture
def target(metaspace_view):
    return endless(noisy(tiny_gemma3(metaspace_view.num_tokens), 0.2), metaspace_view, "target")


def test_a_model_that_drafts_for_itself(target):
    records, result = measured(target, target, prompt_lookup=True)
    for record in records.values():
        own = record["ways"]["assisted"]
        # 5 drafted and taken, and one of the target's, twice: 12 tokens
        assert (own["tokens"], own["forwards"], own["drafted"], own["accepted"]) == (12, 2, 10, 10)
        assert own["equal"]
        assert record["tokens"] == record["scored"] == 12
        assert record["overlap"] == pytest.approx(12, abs=1e-4)
        assert record["agreement"] == 12
    values = {name: figure.value for name, figure in result.figures.items()}
    assert values["accepted"] == values["equal"] == values["equal_prompt_lookup"] == 1
    assert values["accepted_length"] == 6
    assert values["overlap"] == pytest.approx(1, abs=1e-5)
    assert values["speed_up"] == pytest.approx(
        values["tokens_per_second"] / values["tokens_per_second_alone"], rel=0.5
    )
    assert values["accepted_length_prompt_lookup"] >= 1
    assert result.samples[1]["assisted"] == "equal"


def test_a_draft_that_differs_keeps_the_targets_text(target, metaspace_view):
    model = noisy(tiny_gemma3(metaspace_view.num_tokens), 0.2, seed=2)
    records, result = measured(endless(model, metaspace_view, "draft"), target)
    values = {name: figure.value for name, figure in result.figures.items()}
    assert values["equal"] == 1
    assert 0 <= values["accepted"] < 1
    assert 1 <= values["accepted_length"] < 6
    assert 0 < values["overlap"] < 1
    for record in records.values():
        own = record["ways"]["assisted"]
        # each forward pass adds a token of the target's own, but where the text is full
        assert own["tokens"] == own["accepted"] + own["forwards"]


def test_overlap_is_the_sum_of_the_smaller_probabilities(target, metaspace_view):
    draft = endless(
        noisy(tiny_gemma3(metaspace_view.num_tokens), 0.2, seed=2), metaspace_view, "draft"
    )
    suite = harness(target)
    [(key, record), _] = suite.records(draft, suite.prepare())
    view = metaspace_view
    ids = [view.start_id, *view.encode(suite.prompts[key]).ids.tolist()]
    with torch.no_grad():
        whole = torch.tensor([ids])
        for _ in range(12):
            logits = target.model(whole).logits[:, -1, : view.num_tokens]
            whole = torch.cat([whole, logits.argmax(-1, keepdim=True)], dim=1)
        p, q = (
            each.model(whole).logits[0, len(ids) - 1 : -1, : view.num_tokens].softmax(-1)
            for each in (target, draft)
        )
    assert record["overlap"] == pytest.approx(float(torch.minimum(p, q).sum()), abs=1e-4)
    assert record["agreement"] == int((p.argmax(-1) == q.argmax(-1)).sum())


def test_an_estimate_without_a_generated_token(target, metaspace_view):
    records, result = measured(target, target, max_new_tokens=0, prompt_bytes=40)
    assert set(result.figures) == {"overlap", "agreement"}
    assert result.figures["agreement"].value == 1
    for key, document in zip(records, TEXTS.documents(), strict=True):
        # every token of the text but the one that it starts with
        encoded = metaspace_view.encode(document.text).ids
        assert records[key]["scored"] == len(encoded) > 1
    with pytest.raises(ValueError, match="prompt 1 has no token"):
        measured(target, target, max_new_tokens=0, prompt_bytes=1)


def test_another_vocabulary_is_refused_or_measured_across(target, byte_level_view):
    draft = endless(noisy(tiny_gemma3(byte_level_view.num_tokens), 0.2), byte_level_view, "draft")
    with pytest.raises(ValueError, match=r"(?s)another vocabulary: draft has .* ids differ.*id \d"):
        measured(draft, target)
    records, result = measured(draft, target, across=["universal", "intersection"])
    assert set(result.figures) >= {"accepted_length_universal", "accepted_length_intersection"}
    assert "accepted" not in result.figures
    assert "overlap" not in result.figures
    assert (
        result.figures["equal_universal"].value == result.figures["equal_intersection"].value == 1
    )
    assert all(set(record["ways"]) == {"universal", "intersection"} for record in records.values())


def test_special_tokens_that_differ_are_another_vocabulary(target):
    view = target.view
    text, index = next(iter(view.special_ids.items()))
    others = {**view.special_ids, "<other>": index}
    del others[text]
    with pytest.raises(ValueError, match=r"1 ids differ .*special token <other>"):
        measured(replace(target, name="draft", view=replace(view, special_ids=others)), target)


def test_padding_rows_are_counted(target, metaspace_view):
    padded = tiny_gemma3(metaspace_view.num_tokens + 8)
    with pytest.raises(ValueError, match=r"draft has [\d,]+ rows of embeddings and target"):
        measured(endless(padded, metaspace_view, "draft"), target)


def test_a_prompt_that_leaves_no_place(target, metaspace_view):
    short = tiny_gemma3(metaspace_view.num_tokens, max_position_embeddings=24)
    draft = endless(short, metaspace_view, "short")
    with pytest.raises(ValueError, match=r"prompt 0 has \d+ tokens, and short reads at most 24"):
        measured(draft, target, max_new_tokens=20)


def test_chats_are_answered_and_need_a_template(target, tmp_path):
    chats = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    suite = harness(target, source=Listed([Chat.of(chats, "chat")]))
    suite.prepare()
    assert list(suite.prompts.values()) == [[{"role": "user", "content": "Hi"}]]
    with pytest.raises(CorpusError, match="nothing but answers"):
        harness(target, source=Listed([Chat.of(chats[1:], "chat")])).prepare()
    plain = target.view
    without = {text: i for text, i in plain.special_ids.items() if "turn" not in text}
    bare = replace(target, view=replace(plain, special_ids=without))
    bare.view.hf.chat_template = None
    with pytest.raises(ValueError, match="template"):
        measured(bare, bare, chat=True)
    (tmp_path / "empty.jsonl").write_text("\n", "utf-8")
    with pytest.raises(CorpusError, match="no prompts"):
        harness(target, prompts=str(tmp_path / "empty.jsonl")).prepare()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"draft_tokens": 0}, r"harness\.draft\.draft_tokens\) is 0"),
        ({"max_new_tokens": -1}, r"max_new_tokens .* is -1"),
        ({"max_prompts": 0}, r"max_prompts .* is 0"),
        ({"across": ["both"]}, r"\['both'\]: expected universal, intersection"),
    ],
)
def test_settings_that_make_no_sense(target, settings, message):
    with pytest.raises(ValueError, match=message):
        harness(target, **settings)
