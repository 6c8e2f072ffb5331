"""Continuations that end at a text, against those that go on."""

import pytest
import torch

from alm_lightning.evaluation.generation.prompts import prompt_ids
from alm_lightning.evaluation.generation.sampling import Sampling
from alm_lightning.evaluation.generation.texts import generate_texts

PROMPTS = ["The quick", "A statement is executed, and", "def add(", "In 2024"]


def prompts_of(evaluated):
    return [prompt_ids(evaluated, text) for text in PROMPTS]


@pytest.fixture(params=["bytes", "gemma"])
def evaluated(request, evaluated_models):
    return evaluated_models[request.param]


def test_without_a_stop_text_nothing_changes(evaluated):
    prompts = prompts_of(evaluated)
    whole = generate_texts(evaluated, prompts, Sampling(24))
    assert generate_texts(evaluated, prompts, Sampling(24), ["", "never written"]) == whole


def test_texts_end_before_the_first_of_their_stops(evaluated):
    prompts = prompts_of(evaluated)
    whole = [each.text for each in generate_texts(evaluated, prompts, Sampling(24))]
    # two characters from the middle of what is written, wherever tokens end
    stops = [text[len(text) // 2 :][:2] for text in whole[:2]]
    assert all(stops)
    found = generate_texts(evaluated, prompts, Sampling(24), stops, batch_size=3)
    for text, each in zip(whole, found, strict=True):
        places = [text.find(stop) for stop in stops if stop in text]
        assert each.text == (text[: min(places)] if places else text)
        assert each.stopped or not places
        assert not any(stop in each.text for stop in stops)


def test_a_batch_ends_when_all_of_it_has_ended(evaluated, monkeypatch):
    prompts = prompts_of(evaluated)[:1]
    [whole] = generate_texts(evaluated, prompts, Sampling(24))
    steps = []
    forward = evaluated.model.forward

    def counted(*args, **kwargs):
        steps.append(1)
        return forward(*args, **kwargs)

    monkeypatch.setattr(evaluated.model, "forward", counted)
    [found] = generate_texts(evaluated, prompts, Sampling(24), [whole.text[:1]])
    assert found.text == ""
    assert found.stopped
    assert len(steps) < 5 < whole.num_tokens


def test_a_length_in_bytes_still_counts(evaluated):
    prompts = prompts_of(evaluated)
    whole = generate_texts(evaluated, prompts, Sampling(None, 7))
    assert generate_texts(evaluated, prompts, Sampling(None, 7), ["never"]) == whole
    assert whole[0].num_tokens <= 7


def test_a_stop_text_over_several_tokens(evaluated_models):
    evaluated = evaluated_models["bytes"]
    target = b"ab\nQ: c"
    place = iter(target)

    class Says:
        def __call__(self, input_ids, scores):
            forced = torch.full_like(scores, -torch.inf)
            forced[:, next(place)] = 0.0
            return forced

    generate = evaluated.model.generate
    evaluated.model.generate = lambda *a, logits_processor, **k: generate(
        *a, logits_processor=[*logits_processor, Says()], **k
    )
    [found] = generate_texts(evaluated, prompts_of(evaluated)[:1], Sampling(len(target)), ["\nQ:"])
    assert (found.text, found.stopped, found.num_tokens) == ("ab", True, 5)
