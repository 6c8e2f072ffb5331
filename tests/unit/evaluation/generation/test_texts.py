"""Texts that models go on with: piece by piece, in batches, up to a stop or a length."""

from dataclasses import replace

import pytest
import torch
from tests.conftest import SENTENCES
from tests.unit.evaluation.conftest import evaluated_of
from tests.unit.evaluation.ensemble.tiny_members import gemma3, llama, opinionated
from transformers import GenerationConfig

from alm_lightning.evaluation.ensemble.members import ensemble_of
from alm_lightning.evaluation.generation.prompts import prompt_ids
from alm_lightning.evaluation.generation.sampling import Sampling
from alm_lightning.evaluation.generation.spelling import Spelling
from alm_lightning.evaluation.generation.texts import continuation, generate_texts
from alm_lightning.models.generation import drawn_ids

PROMPTS = [SENTENCES[0], SENTENCES[1][:20], "", SENTENCES[3][:25]]
LENGTH = 20


@pytest.fixture
def evaluated(request, evaluated_models, metaspace_view):
    name = request.param
    if name == "ensemble":
        members = [
            evaluated_of(make(metaspace_view.num_tokens), metaspace_view, make.__name__)
            for make in (gemma3, llama)
        ]
        return ensemble_of(members, "mean_prob", None, "both")
    opinionated(evaluated_models[name].model)
    return evaluated_models[name]


EACH = pytest.mark.parametrize("evaluated", ["bytes", "gemma", "ensemble"], indirect=True)


def by_hand(evaluated, ids, steps, stops=()):
    """Greedy ids, the whole text anew for each."""
    ids = list(ids)
    start = len(ids)
    for _ in range(steps):
        with torch.no_grad():
            logits = evaluated.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        if int(logits.argmax()) in stops:
            break
        ids.append(int(logits.argmax()))
    return ids[start:]


def stream(evaluated, ids, *limits, **settings):
    """A text as it comes, piece by piece."""
    pieces = []
    sampling = Sampling(*limits, **settings)
    generate_texts(evaluated, [ids], sampling, on_text=lambda _, piece: pieces.append(piece))
    return pieces


def spelled(evaluated, ids):
    surfaces = [evaluated.view.token_bytes[index] or b"" for index in ids]
    return b"".join(surfaces).decode("utf-8", errors="replace")


@EACH
def test_streams_and_batches_say_what_steps_by_hand_do(evaluated):
    evaluated = replace(evaluated, stop_ids=())
    prompts = [prompt_ids(evaluated, prompt) for prompt in PROMPTS]
    expected = [by_hand(evaluated, ids, LENGTH) for ids in prompts]
    assert len({tuple(ids) for ids in expected}) > 1
    for batch_size in (1, 3):
        found = generate_texts(evaluated, prompts, Sampling(LENGTH), batch_size=batch_size)
        assert [text.text for text in found] == [spelled(evaluated, ids) for ids in expected]
        assert [(text.num_tokens, text.stopped) for text in found] == [(LENGTH, False)] * 4
    for ids, text in zip(prompts, expected, strict=True):
        streamed = stream(evaluated, ids, LENGTH)
        assert "".join(streamed) == spelled(evaluated, text)


@EACH
def test_texts_end_at_a_stop_token(evaluated):
    prompts = [prompt_ids(evaluated, prompt) for prompt in PROMPTS]
    free = replace(evaluated, stop_ids=())
    # the sixth token of the first text ends texts from now on
    stop = by_hand(free, prompts[0], LENGTH)[5]
    evaluated = replace(evaluated, stop_ids=(stop, 1))
    expected = [by_hand(evaluated, ids, LENGTH, stops=(stop, 1)) for ids in prompts]
    found = generate_texts(evaluated, prompts, Sampling(LENGTH))
    assert len(expected[0]) <= 5
    for text, ids, prompt in zip(found, expected, prompts, strict=True):
        assert text.text == spelled(evaluated, ids)
        assert (text.num_tokens, text.stopped) == (len(ids), len(ids) < LENGTH)
        assert "".join(stream(evaluated, prompt, LENGTH)) == text.text


@EACH
def test_a_length_in_bytes(evaluated):
    evaluated = replace(evaluated, stop_ids=())
    prompts = [prompt_ids(evaluated, prompt) for prompt in PROMPTS]
    found = generate_texts(evaluated, prompts, Sampling(None, 7))
    for text, prompt in zip(found, prompts, strict=True):
        ids = by_hand(evaluated, prompt, 7)
        whole = b"".join(evaluated.view.token_bytes[index] or b"" for index in ids)
        decoded = whole[:7].decode("utf-8", errors="replace")
        # half a character that the length cut is left out
        assert decoded.startswith(text.text)
        assert set(decoded[len(text.text) :]) <= {"\ufffd"}
        assert "".join(stream(evaluated, prompt, None, 7)) == text.text
    short = generate_texts(evaluated, prompts, Sampling(2, 50))
    assert [text.num_tokens for text in short] == [2, 2, 2, 2]


@EACH
def test_what_a_folder_says_of_generation_makes_no_difference(evaluated):
    evaluated = replace(evaluated, stop_ids=())
    prompts = [prompt_ids(evaluated, prompt) for prompt in PROMPTS]
    before = generate_texts(evaluated, prompts, Sampling(LENGTH))
    settings = GenerationConfig(repetition_penalty=5.0, do_sample=True, max_length=3, top_k=1)
    evaluated.model.generation_config = settings
    assert generate_texts(evaluated, prompts, Sampling(LENGTH)) == before
    assert evaluated.model.generation_config is settings


@EACH
def test_sampling_depends_on_the_seed_alone(evaluated):
    evaluated = replace(evaluated, stop_ids=())
    ids = prompt_ids(evaluated, PROMPTS[0])
    settings = {"max_new_tokens": LENGTH, "temperature": 2.0, "top_p": 0.95}
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = "".join(stream(evaluated, ids, seed=3, **settings))
    batch = generate_texts(evaluated, [ids], Sampling(seed=3, **settings))
    assert batch[0].text == first
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(2)
    assert "".join(stream(evaluated, ids, seed=3, **settings)) == first
    assert generate_texts(evaluated, [ids], Sampling(seed=3, **settings)) == batch
    assert "".join(stream(evaluated, ids, seed=4, **settings)) != first
    # next to nothing but the likeliest token
    cold = {"max_new_tokens": LENGTH, "temperature": 1e-4}
    greedy = "".join(stream(evaluated, ids, LENGTH))
    assert "".join(stream(evaluated, ids, **cold)) == greedy
    assert generate_texts(evaluated, [ids], Sampling(**cold))[0].text == greedy


def test_a_text_comes_while_it_is_made(evaluated_models):
    evaluated = replace(evaluated_models["bytes"], stop_ids=())
    calls = []
    evaluated.model.register_forward_hook(lambda *_: calls.append(1))
    when = []
    generate_texts(evaluated, [[256, 65]], Sampling(50), on_text=lambda *_: when.append(len(calls)))
    assert 1 <= when[0] < 50 == len(calls)


def test_whole_characters_only(evaluated_models):
    evaluated = replace(evaluated_models["bytes"], stop_ids=(257,))
    spelling = Spelling(evaluated, None)
    assert [spelling.add(byte) for byte in "aé👍".encode()] == ["a", "", "é", "", "", "", "👍"]
    # a special token that stops nothing is no text
    assert spelling.add(256) == ""
    assert (spelling.add(0xC3), spelling.is_done) == ("", False)
    assert (spelling.add(257), spelling.is_done, spelling.stopped) == ("", True, True)
    assert spelling.end() == "\ufffd"
    assert spelling.num_tokens == 9
    cut = Spelling(evaluated, 2)
    assert [cut.add(byte) for byte in "aé".encode()[:2]] == ["a", ""]
    assert (cut.is_done, cut.stopped, cut.end()) == (True, False, "")


def test_samples_have_the_probabilities_that_they_should():
    logits = torch.tensor([[2.0, 0.0, 1.0, -1.0]]).expand(20_000, -1)
    generator = torch.Generator().manual_seed(0)

    def shares(**settings):
        found = drawn_ids(logits, **({"top_p": 1.0} | settings), generator=generator)
        return torch.bincount(found, minlength=4) / len(found)

    torch.testing.assert_close(
        shares(temperature=0.5), (logits[0] / 0.5).softmax(-1), atol=0.01, rtol=0
    )
    # 0.644, 0.237, 0.087, 0.032: two tokens are needed for 0.7, three for 0.9
    kept = logits[0].softmax(-1)
    for top_p, tokens in ((0.6, [0]), (0.7, [0, 2]), (0.9, [0, 1, 2]), (1.0, [0, 1, 2, 3])):
        expected = torch.zeros(4).index_copy(0, torch.tensor(tokens), kept[tokens])
        torch.testing.assert_close(
            shares(temperature=1.0, top_p=top_p), expected / expected.sum(), atol=0.01, rtol=0
        )
    assert shares(temperature=0).tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "there is no length"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"max_new_bytes": -1}, "max_new_bytes is -1"),
        ({"max_new_tokens": 1, "temperature": -0.1}, "temperature is -0.1"),
        ({"max_new_tokens": 1, "temperature": float("nan")}, "temperature is nan"),
        ({"max_new_tokens": 1, "top_p": 0}, "top_p is 0"),
        ({"max_new_tokens": 1, "top_p": 1.5}, "top_p is 1.5"),
    ],
)
def test_settings_that_make_no_sense_are_refused_at_once(settings, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**settings)


def test_the_context_is_a_limit(short_context):
    evaluated = replace(short_context, stop_ids=())
    # of 24 tokens 4 are left
    assert generate_texts(evaluated, [[2] * 20], Sampling(9))[0].num_tokens == 4
    with pytest.raises(ValueError, match="has 24 tokens, but short reads at most 24"):
        stream(evaluated, [2] * 24, 9)


def test_how_far_a_text_goes_does_not_depend_on_its_batch(short_context, caplog):
    evaluated = replace(short_context, stop_ids=())
    prompts = [[2] * length for length in (20, 3, 22, 4, 20)]
    for batch_size in (1, 2, 8):
        caplog.clear()
        found = generate_texts(evaluated, prompts, Sampling(9), batch_size=batch_size)
        assert [text.num_tokens for text in found] == [4, 9, 2, 9, 4]
        assert "short: 3 of 5 texts end where the context of 24 tokens does" in caplog.text
    caplog.clear()
    # nothing is cut that a length in bytes ended first
    generate_texts(evaluated, [[2] * 20], Sampling(None, 4))
    generate_texts(evaluated, [[2] * 20], Sampling(4))
    assert not caplog.text


@EACH
def test_the_same_prompt_again_has_another_sample(evaluated):
    evaluated = replace(evaluated, stop_ids=())
    prompts = [prompt_ids(evaluated, PROMPTS[0])] * 6
    sampling = Sampling(LENGTH, temperature=2.0, seed=3)
    for batch_size in (1, 3):
        found = generate_texts(evaluated, prompts, sampling, batch_size=batch_size)
        assert len({text.text for text in found}) == 6
        assert generate_texts(evaluated, prompts, sampling, batch_size=batch_size) == found


@pytest.mark.parametrize("temperature", [0, 1])
def test_an_id_that_no_token_has_is_not_chosen(metaspace_view, temperature):
    num_tokens = metaspace_view.num_tokens
    # rows of padding, as a model has that was made larger
    model = gemma3(num_tokens + 64)
    likely = torch.arange(num_tokens, num_tokens + 64)
    opinionated(model)
    head = model.get_output_embeddings()
    head.register_forward_hook(lambda _, __, logits: logits.index_fill(-1, likely, 1e4))
    evaluated = replace(evaluated_of(model.eval(), metaspace_view), stop_ids=())
    seen = []
    model.register_forward_pre_hook(
        lambda _, __, given: seen.extend(given["input_ids"].flatten().tolist()), with_kwargs=True
    )
    sampling = Sampling(LENGTH, temperature=temperature)
    generate_texts(evaluated, [prompt_ids(evaluated, PROMPTS[0])], sampling)
    assert len(seen) > LENGTH
    assert max(seen) < num_tokens


def test_bytes_of_a_text_are_those_that_were_generated(evaluated_models):
    evaluated = replace(evaluated_models["bytes"], stop_ids=(257,))
    invalid = Spelling(evaluated, None)
    for byte in (0xFF, 0xC3, 0x61):
        invalid.add(byte)
    # each bad byte is shown as U+FFFD, which has three
    assert (invalid.text, invalid.num_bytes) == ("\ufffd\ufffda", 3)
    stopped = Spelling(evaluated, None, ["ab"])
    for byte in "éab".encode():
        stopped.add(byte)
    assert (stopped.text, stopped.num_bytes) == ("é", 2)


def test_logits_that_are_no_numbers_are_told(evaluated_models):
    evaluated = evaluated_models["gemma"]
    evaluated.model.model.layers[0].mlp.up_proj.weight.data[0] = torch.nan
    with pytest.raises(ValueError, match="gemma gives logits that are not numbers"):
        stream(evaluated, [2, 5], 3)
    with pytest.raises(ValueError, match="gemma gives logits that are not numbers"):
        generate_texts(evaluated, [[2, 5]], Sampling(3))


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_a_sample_of_a_run_is_what_steps_by_hand_give(scorers, side):
    scorer = dict(zip(("student", "teacher"), scorers, strict=True))[side]
    opinionated(scorer.model)
    free = evaluated_of(scorer.model.eval(), scorer.view)
    ids = prompt_ids(free, PROMPTS[0])
    expected = by_hand(free, ids, LENGTH)
    # as long as a context and longer, and cut within a character: samples are not refused
    scorer.model.config.get_text_config().max_position_embeddings = len(ids)
    scorer.model.train()
    specials = {index for index, surface in enumerate(scorer.view.token_bytes) if surface is None}
    end = next((n for n, index in enumerate(expected) if index in specials), LENGTH)
    surfaces = b"".join(scorer.view.token_bytes[index] for index in expected[:end])
    for num_bytes in (1, 7, LENGTH):
        found = continuation(scorer, PROMPTS[0], num_bytes=num_bytes)
        assert found == surfaces[:num_bytes].decode("utf-8", errors="replace")
    assert scorer.model.training
