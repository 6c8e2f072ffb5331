"""Student beside teacher: the totals of training, chunk by chunk what the models say."""

import math

import numpy as np
import pytest
import torch
from tests.conftest import SENTENCES
from tests.unit.evaluation.conftest import Listed

from alm_lightning.alignment.boundaries import Finest, Whitespace
from alm_lightning.alignment.text import align_text
from alm_lightning.corpus.document import CorpusError, Document
from alm_lightning.data.pairing import ALL_TRAINED
from alm_lightning.evaluation.suites.compare import Compare


def suite(source, teacher, **changes):
    settings = {
        "alignment": Finest(),
        "student_length": 512,
        "teacher_length": 512,
        "batch_size": 2,
        "leave_out": 0.0,
        "max_documents": None,
        "shown_documents": 2,
    }
    return Compare(
        load_teacher=lambda: teacher,
        teacher=teacher.name,
        source=source,
        chat=ALL_TRAINED,
        **(settings | changes),
    )


def token_nats(evaluated, ids):
    rows = torch.tensor([[evaluated.view.start_id, *ids.tolist()]])
    with torch.no_grad():
        logprobs = evaluated.model(input_ids=rows).logits[0].double().log_softmax(-1)
    return logprobs[:-1].gather(1, rows[0, 1:, None])[:, 0].numpy()


def test_chunks_have_the_likelihoods_of_both_models(evaluated_models, sentences):
    student, teacher = evaluated_models["bytes"], evaluated_models["gemma"]
    harness = suite(sentences, teacher)
    records = dict(harness.records(student, harness.prepare()))
    differences, agreements, lengths = [], [], []
    for record, text in zip(records.values(), SENTENCES, strict=True):
        aligned = align_text(text, student=student.view, teacher=teacher.view)
        own = token_nats(student, aligned.student_ids), token_nats(teacher, aligned.teacher_ids)
        pairs = [(own[0][a:b].sum(), own[1][c:d].sum()) for a, b, c, d in aligned.chunks]
        chunks = [aligned.chunk_bytes(i) for i in range(aligned.num_chunks)]
        if "shown" in record:
            # the end of the document is a chunk of its own, and structure
            shown = record["shown"]
            assert [c[0] for c in shown] == [raw.decode("utf-8", "replace") for raw in chunks]
            np.testing.assert_allclose([c[1:] for c in shown], pairs, atol=1e-4)
        differences += [abs(s - t) for s, t in pairs]
        agreements += [1 - abs(math.exp(s) - math.exp(t)) for s, t in pairs]
        lengths += [len(raw) for raw in chunks]
    assert ["shown" in record for record in records.values()] == [True, False, True, False, False]
    result = harness.result(records)
    figures = {name: figure.value for name, figure in result.figures.items()}
    assert figures["chunk_difference"] == pytest.approx(np.mean(differences), abs=1e-4)
    assert figures["chunk_agreement"] == pytest.approx(np.mean(agreements), abs=1e-5)
    assert figures["bytes_per_chunk"] == pytest.approx(np.mean(lengths))
    assert figures["coverage"] == 1.0
    shares = {int(n): f["share"].value for n, f in result.groups["chunk_bytes"].items()}
    assert shares == {n: pytest.approx(lengths.count(n) / len(lengths)) for n in set(lengths)}
    assert set(result.groups["group"]) == {"code", "prose"}
    assert [sample["document"] for sample in result.samples] == ["0 (prose)", "2 (code)"]


def test_nothing_to_compare_is_told(evaluated_models):
    with pytest.raises(CorpusError, match="none of the 0 documents"):
        suite(Listed([]), evaluated_models["gemma"]).result({})


def test_a_document_that_fits_no_window_counts_as_not_covered(evaluated_models):
    student, teacher = evaluated_models["bytes"], evaluated_models["gemma"]
    fits, too_long = "a b c d", "x" * 60
    documents = [Document(fits, "0", "fits"), Document(too_long, "1", "long")]
    # chunks end at whitespace alone: the second document is one chunk, longer than a window
    harness = suite(Listed(documents), teacher, alignment=Whitespace(), student_length=32)
    records = dict(harness.records(student, harness.prepare()))
    assert [record["bytes"] for record in records.values()] == [len(fits), 0]
    result = harness.result(records)
    assert result.figures["coverage"].value == pytest.approx(len(fits) / (len(fits) + 60))
    assert result.figures["bytes"].value == len(fits)
    alone = suite(Listed(documents[:1]), teacher, alignment=Whitespace(), student_length=32)
    expected = alone.result(dict(alone.records(student, alone.prepare())))
    for name, figure in expected.figures.items():
        if name != "coverage":
            assert result.figures[name].value == figure.value


class OtherBounds:
    """Stands for an alignment whose chunks depend on all documents."""

    def fitted(self, student, teacher, documents):
        return Finest()

    def select(self, ends):
        return None


def test_keys_hold_all_documents_where_chunks_depend_on_them(evaluated_models):
    few = [Document(text, str(place)) for place, text in enumerate(SENTENCES[:2])]
    more = [*few, Document(SENTENCES[2], "2")]

    def keys(alignment, documents):
        source = Listed(documents)
        return suite(source, evaluated_models["gemma"], alignment=alignment).prepare()

    assert keys(Finest(), more)[:2] == keys(Finest(), few)
    other = OtherBounds()
    assert not set(keys(other, more)) & set(keys(other, few))
    assert keys(other, few) == keys(other, few)


def test_a_model_agrees_with_itself(evaluated_models, sentences):
    gemma = evaluated_models["gemma"]
    harness = suite(sentences, gemma)
    result = harness.result(dict(harness.records(gemma, harness.prepare())))
    assert result.figures["chunk_difference"].value == 0.0
    assert result.figures["chunk_agreement"].value == 1.0
    bits = result.figures["bits_per_byte"], result.figures["bits_per_byte_teacher"]
    assert bits[0].value == bits[1].value


def test_a_long_document_takes_several_windows_and_counts_each_byte_once(evaluated_models):
    text = " ".join(SENTENCES[:3]) * 3
    harness = suite(
        Listed([Document(text, "long")]),
        evaluated_models["gemma"],
        student_length=64,
        teacher_length=40,
    )
    [(_, record)] = harness.records(evaluated_models["bytes"], harness.prepare())
    assert record["bytes"] == len(text.encode())
