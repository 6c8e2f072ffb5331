"""The methods that lm-eval calls, against whole logits; lm-eval itself is not needed."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tests.conftest import tiny_gemma3
from tests.unit.evaluation.conftest import evaluated_of

from alm_lightning.evaluation.ensemble import Ensemble
from alm_lightning.evaluation.generation.sampling import Sampling
from alm_lightning.evaluation.generation.texts import generate_texts
from alm_lightning.evaluation.lm_eval.model import LmEvalModel
from alm_lightning.evaluation.lm_eval.settings import Writing
from alm_lightning.tokenization.bytes.view import byte_view

PAIRS = [
    ("", "The quick brown fox."),
    ("The quick", " brown fox jumps over the lazy dog."),
    ("It cost: ", "12.5"),
    ("Answer:", " A"),
    ("Answer:", " B"),
    ("Answer:", " Both"),
    ("Answer:", ""),
    ("Größe", "n, café"),
]


def asked(*arguments):
    return [SimpleNamespace(args=each) for each in arguments]


def adapted(evaluated, **changes):
    settings = {"chat": False, "max_length": None, "batch_size": 4, "writing": Writing(5, 0)}
    return LmEvalModel(evaluated, **(settings | changes))


def directly(evaluated, ids, count):
    """Sum of log-probabilities of the last tokens, and whether each is the likeliest."""
    if not count:
        return 0.0, True
    given = torch.tensor([list(ids)])
    with torch.no_grad():
        logprobs = evaluated.model(input_ids=given).logits[0].double().log_softmax(-1)
    before = logprobs[-count - 1 : -1]
    targets = given[0, -count:]
    chosen = before.gather(1, targets[:, None]).sum()
    return float(chosen), bool((before.argmax(-1) == targets).all())


def tokens(evaluated, context, continuation):
    """Ids, and how many of them spell a byte after the context's last word."""
    view, kept = evaluated.view, context.rstrip()
    content = view.encode(context + continuation).ids.tolist()
    count, size = 0, len((context[len(kept) :] + continuation).encode())
    while size > 0:
        count += 1
        size -= len(view.token_bytes[content[-count]])
    return [view.start_id, *content], count


@pytest.fixture(params=["bytes", "gemma", "ensemble"])
def evaluated(request, evaluated_models):
    if request.param != "ensemble":
        return evaluated_models[request.param]
    own = evaluated_models["gemma"]
    model = Ensemble([own.model, own.model], view=own.view)
    return replace(own, model=model, name="ensemble")


def test_likelihoods_of_continuations(evaluated):
    found = adapted(evaluated).loglikelihood(asked(*PAIRS))
    expected = [directly(evaluated, *tokens(evaluated, *pair)) for pair in PAIRS]
    assert [nats for nats, _ in found] == pytest.approx([n for n, _ in expected], abs=1e-4)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]


def test_what_a_model_would_write_is_greedy(evaluated):
    context = "The quick"
    ids = [evaluated.view.start_id, *evaluated.view.encode(context).ids.tolist()]
    given = torch.tensor([ids])
    with torch.no_grad():
        ranked = evaluated.model(input_ids=given).logits[0, -1].argsort(descending=True).tolist()
    texts = []
    for index in ranked:
        surface = evaluated.view.token_bytes[index] or b""
        # one that is the same token when it is read with the context
        if surface.isascii() and surface.strip():
            text = surface.decode()
            if evaluated.view.encode(context + text).ids.tolist() == [*ids[1:], index]:
                texts.append((index, text))
    expected = [(context, text) for _, text in texts[:2]]
    found = adapted(evaluated).loglikelihood(asked(*expected))
    alone = [adapted(evaluated).loglikelihood(asked(pair))[0] for pair in expected]
    for (index, _), (nats, greedy), (same, same_greedy) in zip(texts, found, alone, strict=False):
        assert nats == pytest.approx(same, abs=1e-4)
        assert greedy == same_greedy == (index == ranked[0])


def test_choices_that_differ_in_their_last_token_share_a_pass(evaluated_models, monkeypatch):
    evaluated = evaluated_models["bytes"]
    passes = []
    decoder = evaluated.model.get_decoder()
    forward = decoder.forward

    def counted(*args, **kwargs):
        passes.append(kwargs["input_ids"].shape)
        return forward(*args, **kwargs)

    monkeypatch.setattr(decoder, "forward", counted)
    pairs = [("Answer:", f" {letter}") for letter in "ABCD"]
    adapted(evaluated).loglikelihood(asked(*pairs))
    assert len(passes) == 1
    assert passes[0][0] == 1


def test_only_the_end_of_a_long_context_is_read(evaluated_models, caplog):
    evaluated = evaluated_models["bytes"]
    context, continuation = "A statement is executed, and", " the value"
    [(found, _)] = adapted(evaluated, max_length=20).loglikelihood(asked((context, continuation)))
    whole = list((context + continuation).encode())
    expected, _ = directly(evaluated, [evaluated.view.start_id, *whole[-19:]], len(continuation))
    assert found == pytest.approx(expected, abs=1e-4)
    assert "1 of 1 contexts are longer than 20 tokens" in caplog.text
    # there is room for one token before what is scored
    [(found, _)] = adapted(evaluated, max_length=11).loglikelihood(asked((context, continuation)))
    expected, _ = directly(evaluated, whole[-11:], len(continuation))
    assert found == pytest.approx(expected, abs=1e-4)
    with pytest.raises(ValueError, match=r"10 tokens.*at most 10.*max_length"):
        adapted(evaluated, max_length=10).loglikelihood(asked((context, continuation)))


def test_windows_are_as_long_as_the_model_reads(evaluated_models, short_context):
    assert adapted(evaluated_models["gemma"]).max_length == 512
    assert adapted(short_context).max_length == 24
    assert adapted(short_context, max_length=4000).max_length == 24


@pytest.mark.parametrize("length", [None, 2, 7, 20])
def test_whole_texts_in_windows(evaluated, length):
    texts = ["The quick brown fox jumps over the lazy dog.", "def", ""]
    model = adapted(evaluated, max_length=length)
    found = model.loglikelihood_rolling(asked(*((text,) for text in texts)))
    assert found[2] == 0.0
    for text, value in zip(texts[:2], found[:2], strict=True):
        ids = [evaluated.view.start_id, *evaluated.view.encode(text).ids.tolist()]
        size = (length or len(ids)) - 1
        total, done = 0.0, 1
        while done < len(ids):
            end = min(done + size, len(ids))
            total += directly(evaluated, ids[max(end - size - 1, 0) : end], end - done)[0]
            done = end
        assert value == pytest.approx(total, abs=1e-4)


def test_texts_end_at_stops_and_lengths(evaluated_models):
    for name, scale in (("gemma", 1), ("bytes", 5)):
        evaluated = evaluated_models[name]
        prompt = [evaluated.view.start_id, *evaluated.view.encode("The quick").ids.tolist()]
        [whole] = generate_texts(evaluated, [prompt], Sampling(4 * scale))
        model = adapted(evaluated)
        requests = asked(
            ("The quick", {"until": ["never"], "max_gen_toks": 4}),
            ("The quick", {"until": whole.text[1:3], "max_new_tokens": 4, "do_sample": False}),
        )
        texts = model.generate_until(requests)
        assert texts[0] == whole.text
        assert texts[1] == whole.text[: whole.text.find(whole.text[1:3])]


def test_a_stop_that_is_a_special_token(evaluated_models):
    evaluated = evaluated_models["gemma"]
    spelled = {index: text for text, index in evaluated.view.special_ids.items()}
    ids = [evaluated.view.start_id, *evaluated.view.encode("The quick").ids.tolist()]
    with torch.no_grad():
        weight = evaluated.model.get_output_embeddings().weight
        logits = evaluated.model(input_ids=torch.tensor([ids])).logits[0, -1]
    end = evaluated.view.special_ids["<end_of_turn>"]
    before = weight.detach().clone()
    with torch.no_grad():
        # the likeliest token of all, from now on
        weight[end] = weight[int(logits.argmax())] * 10
    try:
        request = ("The quick", {"until": [spelled[end]], "max_gen_toks": 6})
        assert adapted(evaluated).generate_until(asked(request)) == [""]
    finally:
        with torch.no_grad():
            weight.copy_(before)


def test_a_long_prompt_leaves_room_for_an_answer(short_context, caplog):
    texts = adapted(short_context).generate_until(
        asked(("The quick brown fox jumps over the lazy dog. " * 5, {"max_gen_toks": 100}))
    )
    assert len(texts) == 1
    assert "is cut to 12" in caplog.text


def test_a_limit_that_is_lowered_is_told_once(evaluated_models, caplog):
    model = adapted(evaluated_models["gemma"], max_length=24)
    model.generate_until(asked(("The quick", {"max_gen_toks": 12})))
    assert not caplog.records
    for _ in range(2):
        model.generate_until(asked(("The quick", {"max_gen_toks": 100})))
    [record] = caplog.records
    assert "up to 100 tokens, and they end at 12, half of the 24" in record.getMessage()


def test_settings_of_generation(evaluated_models):
    evaluated = evaluated_models["gemma"]
    writing = Writing(5, seed=3)
    sampling, stops = writing.of({}, evaluated)
    assert (sampling.most_tokens, sampling.temperature, sampling.seed, stops) == (256, 0.0, 3, [])
    given = {"until": "\n", "max_gen_toks": 8, "temperature": 0.7, "top_p": 0.9, "top_k": None}
    sampling, stops = writing.of(given, evaluated)
    assert (sampling.most_tokens, sampling.temperature, sampling.top_p) == (8, 0.7, 0.9)
    assert stops == ["\n"]
    assert writing.of({**given, "do_sample": False}, evaluated)[0].temperature == 0.0
    with pytest.raises(ValueError, match=r"top_k.*gen_kwargs"):
        writing.of({"top_k": 5}, evaluated)
    assert writing.of({"max_gen_toks": 8}, evaluated_models["bytes"])[0].most_tokens == 40


def test_chats_are_written_by_the_template_and_their_special_tokens_parsed(evaluated_models):
    evaluated = evaluated_models["gemma"]
    model = adapted(evaluated, chat=True)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]
    context = model.apply_chat_template(messages)
    assert context == (
        "<bos><start_of_turn>user\nBe brief.\n\nWho?<end_of_turn>\n<start_of_turn>model\n"
    )
    special, view = evaluated.view.special_ids, evaluated.view
    # what is answered is text, whatever it looks like
    [(found, _)] = model.loglikelihood(asked((context, "the <eos>")))
    prompt = [
        *(special["<bos>"], special["<start_of_turn>"]),
        *view.encode("user\nBe brief.\n\nWho?", continued=True).ids.tolist(),
        special["<end_of_turn>"],
        *view.encode("\n", continued=True).ids.tolist(),
        special["<start_of_turn>"],
    ]
    answer = view.encode("model\nthe <eos>", continued=True).ids.tolist()
    head = view.encode("model\n", continued=True).ids.tolist()
    assert answer[: len(head)] == head
    expected, _ = directly(evaluated, prompt + answer, len(answer) - len(head))
    assert found == pytest.approx(expected, abs=1e-4)
    [text] = model.generate_until(asked((context, {"max_gen_toks": 3})))
    assert text == generate_texts(evaluated, [prompt + head], Sampling(3))[0].text


def test_an_answer_that_is_begun_goes_on(evaluated_models):
    messages = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "It is"}]
    written = adapted(evaluated_models["gemma"], chat=True).apply_chat_template(
        messages, add_generation_prompt=False
    )
    assert written.endswith("<start_of_turn>model\nIt is")


def test_chats_have_the_date_of_training():
    view = byte_view(chat_template="{{ strftime_now('%d %b %Y') }}: {{ messages[0].content }}")
    model = adapted(evaluated_of(tiny_gemma3(view.num_tokens), view), chat=True)
    assert model.apply_chat_template([{"role": "user", "content": "Who?"}]) == "26 Jul 2024: Who?"
