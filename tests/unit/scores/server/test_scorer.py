"""Answers of endpoints, over real HTTP, against the table that they come from."""

import logging
import os
import signal
import threading
import time

import numpy as np
import pytest

from alm_lightning.scores.sequences import SequenceScorer

pytest.importorskip("openai", reason="needs the extra server")

from tests.unit.scores.server.endpoint import KEY, MODEL, Endpoint

from alm_lightning.app.scoring import HTTP_CLIENTS, quiet_requests
from alm_lightning.scores.server.scorer import ServerScorer
from alm_lightning.scores.server.settings import ServerError, ServerSettings

TEXTS = ["The quick brown fox jumps.", "def add(first, second):\n    return", "In 2024 it", "x"]


@pytest.fixture
def view(byte_level_view):
    return byte_level_view


@pytest.fixture
def sequences(view):
    return [np.array([view.start_id, *view.encode(text).ids.tolist()]) for text in TEXTS]


def scorer(endpoint, **settings):
    return ServerScorer(ServerSettings(url=endpoint.url, **settings), endpoint.view)


@pytest.mark.parametrize("dialect", ["vllm", "sglang", "echo", "echo_text"])
def test_finds_the_dialect_and_reads_it(view, sequences, dialect):
    with Endpoint(view, dialect=dialect) as endpoint:
        teacher = scorer(endpoint, top=view.num_tokens, keep_top=3)
        assert isinstance(teacher, SequenceScorer)
        scores = list(teacher.score(sequences))
    assert f"({dialect})" in teacher.describe()
    for ids, found in zip(sequences, scores, strict=True):
        table = endpoint.logprobs[ids]
        own = table[np.arange(len(ids) - 1), ids[1:]]
        np.testing.assert_allclose(found.logprobs, [0.0, *own], rtol=1e-5)
        true = np.exp(table[:, view.boundary_ids]).sum(1)
        # tokens that are no whole characters, a third of this vocabulary, are lost in one of them
        tolerance = 0.1 if dialect == "echo_text" else 1e-5
        np.testing.assert_allclose(np.exp(found.boundary_logprobs), true, atol=tolerance)
        assert (found.top_ids[0] == -1).all()
        assert np.isneginf(found.top_logprobs[0]).all()
        if dialect != "echo_text":
            np.testing.assert_array_equal(found.top_ids[1:], np.argsort(-table[:-1], axis=1)[:, :3])


def test_requests_are_not_logged(view, sequences, caplog):
    caplog.set_level(logging.INFO)
    for name in HTTP_CLIENTS:
        # and back to what it was with the end of the test
        caplog.set_level(logging.INFO, logger=name)
    with Endpoint(view) as endpoint:
        list(scorer(endpoint).score(sequences[:1]))
        loud = {record.name.partition(".")[0] for record in caplog.records}
        assert loud & {*HTTP_CLIENTS}
        caplog.clear()
        quiet_requests()
        list(scorer(endpoint).score(sequences))
    assert {record.name.partition(".")[0] for record in caplog.records} <= {
        "alm_lightning",
        "openai",
    }


def test_a_few_alternatives_give_an_estimate(view, sequences):
    with Endpoint(view) as endpoint:
        few, all_ = (
            np.concatenate([s.boundary_logprobs for s in scorer(endpoint, top=k).score(sequences)])
            for k in (20, view.num_tokens)
        )
    assert 0.001 < np.abs(np.exp(few) - np.exp(all_)).mean() < 0.1


def test_a_sequence_of_its_start_token_alone(view):
    for dialect in ("vllm", "sglang", "echo", "echo_text"):
        with Endpoint(view, dialect=dialect) as endpoint:
            (found,) = scorer(endpoint, dialect=dialect).score([np.array([view.start_id])])
        assert found.logprobs.tolist() == [0.0]
        assert found.boundary_logprobs.shape == (1,)


def test_keeps_order_and_bounds_requests(view, sequences):
    with Endpoint(view) as endpoint:
        many = sequences * 10
        # the first ones take longest
        endpoint.failures = [0.0, 0.3, 0.2, 0.1]
        found = list(scorer(endpoint, concurrency=3).score(many))
        assert endpoint.most_busy == 3
    assert [len(s.logprobs) for s in found] == [len(ids) for ids in many]
    np.testing.assert_allclose(found[0].logprobs, found[4].logprobs)


def test_asks_again(view, sequences):
    with Endpoint(view) as endpoint:
        teacher = scorer(endpoint, dialect="vllm", retries=2)
        list(teacher.score(sequences[:1]))
        before = len(endpoint.calls)
        endpoint.failures = [503, 429]
        assert len(list(teacher.score(sequences[:1]))) == 1
        assert len(endpoint.calls) == before + 3


def test_a_caller_that_stops_gives_up_what_waits(view, sequences):
    with Endpoint(view) as endpoint:
        endpoint.failures = [0.0, *[0.05] * 100]
        found = scorer(endpoint, concurrency=2).score(sequences * 25)
        next(found)
        found.close()
        asked = len(endpoint.calls)
        assert asked < 20


@pytest.fixture
def interrupts():
    """What Ctrl-C does to Python, also where a shell has started the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
def test_an_interrupt_ends_it_at_once(view, sequences):
    with Endpoint(view) as endpoint:
        endpoint.failures = [0.0, *[20.0] * 20]
        found = scorer(endpoint, concurrency=2).score(sequences)
        timer = threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT))
        started = time.monotonic()
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            list(found)
        assert time.monotonic() - started < 10


def test_a_busy_server_is_not_taken_for_another_kind(view, sequences):
    with Endpoint(view) as endpoint:
        endpoint.failures = [429] * 2
        with pytest.raises(ServerError, match=r"status 429.*is busy"):
            list(scorer(endpoint).score(sequences))


def test_no_sequences_are_no_request(view):
    with Endpoint(view) as endpoint:
        assert list(scorer(endpoint).score([])) == []
    assert endpoint.calls == []


def drop_token(answer):
    answer["choices"][0]["prompt_logprobs"].pop()
    return answer


def without(answer):
    answer["choices"][0].pop("prompt_logprobs", None)
    return answer


def other(answer):
    first = answer["choices"][0]["prompt_logprobs"][1]
    answer["choices"][0]["prompt_logprobs"][1] = {"99999": next(iter(first.values()))}
    return answer


def not_a_number(answer):
    for given in answer["choices"][0]["prompt_logprobs"][1:]:
        for value in given.values():
            value["logprob"] = 3.0
    return answer


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (drop_token, "tokens of a prompt that has"),
        (without, "does not return log-probabilities of a prompt"),
        (other, "another tokenizer"),
        (not_a_number, "log-probabilities that are none"),
    ],
)
def test_answers_of_something_else(view, sequences, change, says):
    with Endpoint(view) as endpoint:
        endpoint.change = change
        with pytest.raises(ServerError, match=says):
            list(scorer(endpoint, dialect="vllm").score(sequences))


def test_texts_that_are_cut_otherwise(view, sequences):
    with Endpoint(view, dialect="echo_text") as endpoint:
        endpoint._cut = lambda text: [view.start_id, *view.encode(text).ids.tolist()]
        with pytest.raises(ServerError, match=r"other tokens than it was sent.*add_bos_token"):
            list(scorer(endpoint, dialect="echo_text").score(sequences))


def test_log_probabilities_that_are_shifted(view, sequences):
    def shifted(answer):
        given = answer["choices"][0]["logprobs"]
        given["tokens"] = ("", *given["tokens"][:-1])
        return answer

    with Endpoint(view, dialect="echo_text") as endpoint:
        endpoint.change = shifted
        with pytest.raises(ServerError, match=r"shifted by one token.*bos_token_id=int:"):
            list(scorer(endpoint, dialect="echo_text").score(sequences))


def test_what_an_endpoint_refuses(view, sequences, monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    cases = [
        (401, {}, r"refused the key with status 401.*MY_KEY was sent"),
        (403, {"key_variable": "NOT_SET"}, "NOT_SET was not sent, for the variable is not set"),
        (500, {}, "status 500.*server's log"),
        (503, {}, "status 503.*is busy, or not up, after 1 tries"),
        (400, {}, "lower teacher.server.top=20"),
        (0.7, {"timeout": 0.2}, "no answer within 0.2 s, after 1 tries, to a prompt of"),
    ]
    for failure, settings, says in cases:
        with Endpoint(view) as endpoint:
            endpoint.failures = [failure]
            made = {"key_variable": "MY_KEY", "dialect": "vllm", "retries": 0} | settings
            with pytest.raises(ServerError, match=says):
                list(scorer(endpoint, **made).score(sequences))


def test_a_model_that_is_not_served(view, sequences):
    with Endpoint(view) as endpoint, pytest.raises(ServerError, match=f"it has: {MODEL}"):
        list(scorer(endpoint, model="other").score(sequences))


def test_a_context_that_is_too_short(view, sequences):
    with Endpoint(view) as endpoint:
        teacher = scorer(endpoint)
        list(teacher.score(sequences[-1:]))
        endpoint.context = 10
        with pytest.raises(ServerError, match=r"maximum context length is 10 .* longest sequence"):
            list(teacher.score(sequences))


def test_nobody_there(view, sequences):
    with Endpoint(view) as endpoint:
        teacher = scorer(endpoint, retries=0)
    with pytest.raises(ServerError, match=r"Can't reach http://127.0.0.1.*after 1 tries"):
        list(teacher.score(sequences))


def test_the_key_is_sent_and_never_shown(view, sequences, monkeypatch, caplog, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    caplog.set_level("DEBUG")
    with Endpoint(view) as endpoint:
        teacher = scorer(endpoint, retries=0)
        list(teacher.score(sequences))
        assert set(endpoint.keys) == {f"Bearer {KEY}"}
        shown = [repr(teacher._settings), teacher.describe(), str(vars(teacher))]
        endpoint.failures = [400]
        with pytest.raises(ServerError) as caught:
            list(teacher.score(sequences))
    assert "***" in str(caught.value)
    assert caught.value.__cause__ is None
    written = capsys.readouterr()
    for text in (*shown, caplog.text, str(caught.value), written.out, written.err):
        assert KEY not in text
