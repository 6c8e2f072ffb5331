"""Drafts of tiny models for tiny models."""

import json
from copy import copy
from dataclasses import replace

import pytest
import torch
from tests.conftest import tiny_gemma3
from tests.unit.evaluation.conftest import Listed, evaluated_of

from alm_lightning.corpus.chat import Chat
from alm_lightning.corpus.document import CorpusError, Document
from alm_lightning.evaluation.drafts.ways import ALONE, Writer
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
    with pytest.raises(
        ValueError, match=r"(?s)another vocabulary or other rows: draft has .* ids differ.*id \d"
    ):
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


def test_a_token_that_only_one_file_calls_special_is_the_same(target):
    view = target.view
    text, index = next(iter(view.special_ids.items()))
    surfaces = [*view.token_bytes]
    surfaces[index] = text.encode()
    others = {name: at for name, at in view.special_ids.items() if name != text}
    draft = replace(view, special_ids=others, token_bytes=surfaces)
    _, result = measured(replace(target, name="draft", view=draft), target)
    assert result.figures["accepted"].value == 1
    # what differs beside it is named alone
    surfaces[-1] = b"other"
    draft = replace(view, special_ids=others, token_bytes=surfaces)
    with pytest.raises(ValueError, match=rf"1 ids differ \(id {len(surfaces) - 1} is b'other'"):
        measured(replace(target, name="draft", view=draft), target)


def test_padding_rows_are_counted(target, metaspace_view):
    padded = tiny_gemma3(metaspace_view.num_tokens + 8)
    draft = endless(padded, metaspace_view, "draft")
    with pytest.raises(ValueError, match=r"draft has [\d,]+ rows of embeddings and target"):
        measured(draft, target)
    # as transformers has it, one of another vocabulary
    _, result = measured(draft, target, across=["universal", "intersection"])
    assert result.figures["equal_universal"].value == 1
    assert result.figures["equal_intersection"].value == 1


def test_a_draft_of_another_vocabulary_has_a_context_of_its_own(target, byte_level_view):
    texts = Listed([Document("zqxj " * 9, "long")])
    rows = byte_level_view.num_tokens
    lengths = [len(view.encode("zqxj " * 6).ids) for view in (target.view, byte_level_view)]
    settings = {"source": texts, "prompt_bytes": 30, "max_new_tokens": 2, "across": ["universal"]}
    for length, fits in ((sum(lengths) + 30, True), (lengths[1], False)):
        model = tiny_gemma3(rows, max_position_embeddings=length)
        draft = endless(model, byte_level_view, "short")
        if fits:
            measured(draft, target, **settings)
        else:
            with pytest.raises(ValueError, match=rf"short reads at most {length}"):
                measured(draft, target, **settings)


def test_a_prompt_without_text_has_nothing_to_draft_from(target, byte_level_view, tmp_path):
    draft = endless(tiny_gemma3(byte_level_view.num_tokens), byte_level_view, "draft")
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps({"prompt": ""}) + "\n")
    with pytest.raises(ValueError, match="prompt 0 has no text, of which draft could draft"):
        measured(draft, target, prompts=str(path), across=["intersection"])


def test_a_state_that_can_not_be_taken_back(target):
    draft = replace(target, name="draft", model=copy(target.model))
    draft.model._is_stateful = True
    with pytest.raises(ValueError, match="draft is a Gemma3ForCausalLM, whose state"):
        measured(draft, target)


@pytest.mark.parametrize("way", ["universal", "intersection"])
def test_drafts_of_another_vocabulary_end_at_their_own_stops(target, byte_level_view, way):
    """The ids at which the target stops are other tokens there."""
    draft = endless(noisy(tiny_gemma3(byte_level_view.num_tokens), 0.2), byte_level_view, "draft")
    ids = [target.view.start_id, *target.view.encode("The quick br").ids.tolist()]
    # all but those that the target says
    said = {*Writer(target, draft, 5).write(ids, 12, ALONE).ids}
    stops = [index for index in range(byte_level_view.num_tokens) if index not in said]
    stopping = replace(target, stop_ids=stops)
    rounds = [Writer(each, draft, 5).write(ids, 12, way).rounds for each in (target, stopping)]
    assert rounds[0].drafted == rounds[1].drafted
    # its own stops do end it
    ending = replace(draft, stop_ids=list(range(byte_level_view.num_tokens)))
    ended = Writer(target, ending, 5).write(ids, 12, way).rounds
    assert max(ended.drafted) < max(rounds[0].drafted)


def test_a_prompt_that_leaves_no_place(target, metaspace_view):
    short = tiny_gemma3(metaspace_view.num_tokens, max_position_embeddings=24)
    draft = endless(short, metaspace_view, "short")
    with pytest.raises(ValueError, match=r"20 tokens take \d+ tokens, and short reads at most 24"):
        measured(draft, target, max_new_tokens=20)
    # the text that no time is taken of is no longer than the answers
    tokens = len(metaspace_view.encode("The quick br").ids) + 1
    shortest = tiny_gemma3(metaspace_view.num_tokens, max_position_embeddings=tokens + 1)
    draft = endless(shortest, metaspace_view, "shortest")
    source = Listed([Document("The quick brown", "a")])
    asked = []
    suite = harness(target, source=source, max_new_tokens=1)
    keys = suite.prepare()
    write = Writer.write
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Writer, "write", lambda *a: asked.append(a[2]) or write(*a))
        dict(suite.records(draft, keys))
    assert {*asked} == {1}


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
