"""Bits per byte: each byte once, whatever the windows, and the number that transformers gives."""

import math

import numpy as np
import pytest
import torch
from tests.conftest import SENTENCES
from tests.unit.evaluation.conftest import Listed

from alm_lightning.corpus.chat import Chat
from alm_lightning.corpus.document import CorpusError, Document
from alm_lightning.evaluation.suites.bits_per_byte import BitsPerByte


def suite(source, **changes):
    settings = {
        "context_bytes": 4096,
        "stride_bytes": 2048,
        "leave_out": 0.0,
        "max_documents": None,
    }
    return BitsPerByte(source=source, **(settings | changes))


def measured(harness, evaluated):
    keys = harness.prepare()
    return harness.result(dict(harness.records(evaluated, keys)))


def nats_directly(evaluated, text):
    ids = [evaluated.view.start_id, *evaluated.view.encode(text).ids.tolist()]
    ids = torch.tensor([ids])
    with torch.no_grad():
        logits = evaluated.model(input_ids=ids, labels=ids).loss.double()
    return float(logits) * (ids.shape[1] - 1)


@pytest.mark.parametrize("name", ["bytes", "gemma"])
def test_whole_documents_have_the_loss_of_transformers(evaluated_models, sentences, name):
    evaluated = evaluated_models[name]
    result = measured(suite(sentences), evaluated)
    nats = [nats_directly(evaluated, text) for text in SENTENCES]
    num_bytes = [len(text.encode()) for text in SENTENCES]
    expected = sum(nats) / math.log(2) / sum(num_bytes)
    assert result.figures["bits_per_byte"].value == pytest.approx(expected, abs=1e-4)
    assert result.figures["bytes"].value == sum(num_bytes)
    code = result.groups["group"]["code"]["bits_per_byte"]
    assert code.value == pytest.approx(nats[2] / math.log(2) / num_bytes[2], abs=1e-4)
    assert code.stderr is None
    assert result.groups["group"]["prose"]["bits_per_byte"].count == 4


def test_the_standard_error_is_that_of_a_ratio_over_documents(evaluated_models, sentences):
    result = measured(suite(sentences), evaluated_models["gemma"])
    bits = np.array([nats_directly(evaluated_models["gemma"], t) for t in SENTENCES]) / math.log(2)
    sizes = np.array([len(text.encode()) for text in SENTENCES])
    residuals = bits - bits.sum() / sizes.sum() * sizes
    expected = math.sqrt(5 / 4 * (residuals**2).sum()) / sizes.sum()
    assert result.figures["bits_per_byte"].stderr == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", ["bytes", "gemma"])
@pytest.mark.parametrize(("context", "stride"), [(1, 1), (7, 3), (40, 40), (40, 11), (500, 250)])
def test_windows_score_each_token_once_with_the_context_that_was_asked(
    evaluated_models, name, context, stride
):
    evaluated = evaluated_models[name]
    text = " ".join(SENTENCES)
    ids = evaluated.view.encode(text).ids
    harness = suite(Listed([]), context_bytes=context, stride_bytes=stride)
    lengths = evaluated.view.byte_lengths
    at = 0
    for row in harness.windows(evaluated, ids):
        assert row.ids[0] == evaluated.view.start_id
        scored = row.ids[row.first :]
        stop = at + len(scored)
        np.testing.assert_array_equal(row.ids[1:], ids[stop - len(row.ids) + 1 : stop])
        np.testing.assert_array_equal(scored, ids[at:stop])
        # at most so many bytes, but for a single token that is longer
        assert lengths[row.ids[1:]].sum() <= max(context, lengths[scored].sum())
        if at:
            assert lengths[scored].sum() <= max(stride, lengths[scored[0]])
            # no token more would have fitted in front, so the context is full
            before = stop - len(row.ids)
            assert before < 0 or lengths[row.ids[1:]].sum() + lengths[ids[before]] > context
        at = stop
    assert at == len(ids)


def test_a_long_document_is_measured_in_windows(short_context):
    text = "a few words and a number 12 " * 8
    harness = suite(Listed([Document(text, "long")]))
    [(_, record)] = harness.records(short_context, harness.prepare())
    expected = 0.0
    ids = short_context.view.encode(text).ids
    for row in harness.windows(short_context, ids):
        assert len(row.ids) <= 24
        batch = torch.from_numpy(row.ids.astype(np.int64))[None]
        with torch.no_grad():
            logprobs = short_context.model(input_ids=batch).logits[0].double().log_softmax(-1)
        own = logprobs[:-1].gather(1, batch[0, 1:, None])[:, 0]
        expected -= float(own[row.first - 1 :].sum())
    assert record["tokens"] == len(ids)
    assert record["nats"] == pytest.approx(expected, abs=1e-3)


def test_the_last_share_of_the_documents_is_taken():
    documents = [Document(f"text {n}", str(n)) for n in range(10)]
    keys = suite(Listed(documents), leave_out=0.9).prepare()
    assert [key.partition(":")[0] for key in keys] == ["9"]
    assert len(suite(Listed(documents), max_documents=3).prepare()) == 3


@pytest.mark.parametrize(
    ("documents", "changes", "error", "said"),
    [
        ([], {}, CorpusError, "none with text"),
        ([Document("  \n", "blank")], {}, CorpusError, "1 documents, and none with text"),
        ([Document("text", "a")], {"leave_out": 1.0}, ValueError, "below 1"),
        ([Document("text", "a")], {"max_documents": 0}, ValueError, "at least 1"),
        (
            [Chat.of([{"role": "user", "content": "Hi"}], "chats.jsonl:1")],
            {},
            CorpusError,
            "chats.jsonl:1 is a chat",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(documents, changes, error, said):
    with pytest.raises(error, match=said):
        suite(Listed(documents), **changes).prepare()


@pytest.mark.parametrize(("context", "stride"), [(10, 0), (10, 11)])
def test_a_stride_longer_than_the_context_is_refused(context, stride):
    with pytest.raises(ValueError, match="stride"):
        suite(Listed([]), context_bytes=context, stride_bytes=stride)
