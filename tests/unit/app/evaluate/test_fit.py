"""What weights of an ensemble are fitted on, and where they are kept."""

import pytest
import torch
from tests.unit.evaluation.ensemble.tiny_members import gemma3, llama

from alm_lightning.app.evaluate.fit import (
    Fitted,
    FitText,
    fit,
    fitted_weights_of,
    front_row,
    store_weights,
)
from alm_lightning.corpus.document import Document
from alm_lightning.evaluation.ensemble.weights import fitted_weights
from alm_lightning.evaluation.evaluated_model import EvaluatedModel

TEXT = "The quick brown fox jumps over the lazy dog. Größe, café. "
ONE = Document("one", name="0")


def fit_text(*texts, most_bytes=4096):
    documents = {f"{n}:{n}": Document(text, name=str(n)) for n, text in enumerate(texts)}
    return FitText("own", documents, most_bytes)


@pytest.mark.parametrize("most_bytes", [1, 2, 7, 47, 48, 49, 10_000])
def test_the_front_of_a_document(byte_level_view, most_bytes):
    view = byte_level_view
    row = front_row(view, TEXT, most_bytes, 200)
    assert row.ids[0] == view.start_id
    assert row.first == 1
    spelled = b"".join(view.token_bytes[index] for index in row.ids[1:])
    assert TEXT.encode().startswith(spelled)
    whole = view.encode(TEXT).ids
    if len(row.ids) - 1 < len(whole):
        following = view.token_bytes[whole[len(row.ids) - 1]]
        assert len(spelled) <= max(most_bytes, len(view.token_bytes[whole[0]]))
        assert len(spelled) + len(following) > most_bytes
    else:
        assert most_bytes >= len(TEXT.encode())
    assert len(front_row(view, TEXT, most_bytes, 3).ids) <= 4


def test_weights_suit_what_is_read_alone(byte_level_view):
    view = byte_level_view
    makers = {"gemma": gemma3, "llama": llama}
    members = [
        EvaluatedModel(name, make(view.num_tokens), view, name, (view.roles["eos"],))
        for name, make in makers.items()
    ]
    text = fit_text(TEXT * 4, "def add(first, second):", most_bytes=40)
    found = fit(members, "mean_prob", text)
    rows = [front_row(view, d.text, 40, 200).ids for d in text.documents.values()]
    logprobs = []
    for member in members:
        own = []
        for ids in rows:
            given = torch.from_numpy(ids)[None]
            with torch.no_grad():
                each = member.model(given).logits[0, :-1].double().log_softmax(-1)
            own.append(each.gather(1, given[0, 1:, None])[:, 0])
        logprobs.append(torch.cat(own))
    expected = fitted_weights(torch.stack(logprobs))
    assert found.weights == pytest.approx(expected.tolist(), abs=1e-4)
    assert (found.documents, found.tokens) == (2, sum(len(ids) - 1 for ids in rows))


def test_other_text_has_another_identity():
    first = FitText("own", {"0:aa": ONE}, 10).identity()
    assert FitText("own", {"0:aa": ONE}, 10).identity() == first
    for other in (FitText("own", {"0:ab": ONE}, 10), FitText("own", {"0:aa": ONE}, 11)):
        assert other.identity() != first
    with pytest.raises(ValueError, match="fit_bytes is 0"):
        FitText("own", {}, 0)


def test_weights_are_kept_for_what_they_were_fitted_on(tmp_path):
    fitted, identity = Fitted([1 / 3, 2 / 3], 2, 30), {"members": ("a", "b")}
    assert fitted_weights_of(tmp_path / "e", identity) is None
    store_weights(tmp_path / "e", identity, fitted)
    assert fitted_weights_of(tmp_path / "e", identity) == fitted
    assert fitted_weights_of(tmp_path / "e", {"members": ("a", "c")}) is None
    assert [path.name for path in (tmp_path / "e").iterdir()] == ["weights.json"]
