"""Whether tokenizers are the same, and what an ensemble of evaluated_models is."""

import json
from dataclasses import replace

import pytest
import torch
from tests.unit.evaluation.conftest import evaluated_of
from tests.unit.evaluation.ensemble.tiny_members import gemma3, llama
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from alm_lightning.evaluation.ensemble.members import check_same_tokenizer, ensemble_of
from alm_lightning.evaluation.scoring import Row, score_rows
from alm_lightning.tokenization.bytes.view import byte_view, byte_view_like
from alm_lightning.tokenization.fast import view_of
from alm_lightning.tokenization.load import load_tokenizer
from alm_lightning.tokenization.new_vocabulary import new_vocabulary


def members_of(view, *names):
    makers = (gemma3, llama)
    return [
        evaluated_of(makers[place % 2](view.num_tokens + place), view, name)
        for place, name in enumerate(names)
    ]


def remade(view, change):
    """The same tokenizer with another tokenizer.json."""
    state = json.loads(view.hf.backend_tokenizer.to_str())
    change(state)
    backend = Tokenizer.from_str(json.dumps(state))
    roles = {f"{role}_token": f"<{role}>" for role in ("bos", "eos", "pad")}
    return view_of(PreTrainedTokenizerFast(tokenizer_object=backend, **roles), name="remade")


def test_an_ensemble_of_subjects_is_one(byte_level_view):
    first, second = members_of(byte_level_view, "first", "second")
    second = replace(second, stop_ids=(4, 1))
    # made anew, as each member's own folder has it
    second = replace(second, view=remade(byte_level_view, lambda state: None))
    ensemble = ensemble_of([first, second], "mean_prob", [3, 1], "both")
    assert ensemble.name == "both"
    assert ensemble.described == "mean_prob of first 0.750, second 0.250"
    assert ensemble.stop_ids == (1, 4)
    assert ensemble.context_length == 256
    assert ensemble.model.names == ["first", "second"]
    # rows are scored through it as they are through its logits
    ids = byte_level_view.encode("The quick brown fox").ids
    rows = [Row(torch.tensor([ensemble.view.start_id, *ids.tolist()]).numpy())]
    ((_, found),) = score_rows(ensemble, rows)
    given = torch.from_numpy(rows[0].ids)[None]
    logprobs = ensemble.model(given).logits[0].log_softmax(-1)
    expected = logprobs[:-1].gather(1, given[0, 1:, None])[:, 0].double().numpy()
    assert abs(found - expected).max() < 1e-5


def refusal(first, second):
    members = [("this", first), ("that", second)]
    with pytest.raises(ValueError, match="this and that can't be combined: ") as caught:
        check_same_tokenizer(members)
    message = str(caught.value)
    assert "experiment=gemma_to_smollm2_tokenizer tokenizer.special_tokens=replace" in message
    assert "student=" in message
    return message


def test_the_first_token_that_differs_is_named(byte_level_view, metaspace_view):
    message = refusal(byte_level_view, metaspace_view)
    index = next(
        i
        for i, pair in enumerate(
            zip(byte_level_view.token_bytes, metaspace_view.token_bytes, strict=False)
        )
        if pair[0] != pair[1]
    )
    own = repr(byte_level_view.token_bytes[index])
    assert f"id {index} stands for {own} there and for the special token <unk> here" in message


def test_other_special_tokens_are_named():
    message = refusal(byte_view(other_specials=["<a>"]), byte_view(other_specials=["<b>"]))
    assert "id 259 stands for the special token <a> there and for the special token <b>" in message


def test_sizes_are_named_where_one_begins_with_the_other():
    message = refusal(byte_view(), byte_view(other_specials=["<a>"]))
    assert "have 259 and 260 tokens, of which the first 259 are the same; id 259 stands" in message
    assert "stands for the special token <a> in the longer one alone" in message


def test_students_that_kept_their_own_special_tokens(byte_level_view, metaspace_view):
    def moved(old, choice):
        return new_vocabulary(old, byte_level_view, special_tokens=choice, keep=[])

    roles = {"bos": "<s>", "eos": "</s>", "pad": "[PAD]"}
    others = [byte_view(roles), byte_view()]
    expected = [
        "id 335 stands for the special token <bos> there and for the special token <s> here. ",
        "the same; id 338 stands for the special token <start_of_turn> in the longer one alone. ",
    ]
    for other, said in zip(others, expected, strict=True):
        message = refusal(moved(metaspace_view, "keep"), moved(other, "keep"))
        assert f"{said}Students made with tokenizer.special_tokens=keep have the" in message
        assert "move both with tokenizer.special_tokens=replace" in message
        assert "id 0 stands for" in refusal(moved(other, "keep"), moved(other, "replace"))
    check_same_tokenizer([(n, moved(v, "replace")) for n, v in zip("ab", others, strict=True)])
    # the same with bytes
    kept, replaced = ([byte_view_like(old, [], to) for old in others] for to in ("keep", "replace"))
    assert "keep have the special tokens" in refusal(*kept)
    check_same_tokenizer(list(zip("ab", replaced, strict=True)))


def test_merges_and_pre_tokenizers_that_differ_are_told(byte_level_view):
    def fewer(state):
        state["model"]["merges"] = state["model"]["merges"][:10]

    message = refusal(byte_level_view, remade(byte_level_view, fewer))
    assert "their tokens are the same, but the merges, the normaliser or the pre-tok" in message
    assert "are the first that differ" in message

    def words(state):
        digits = {"type": "Digits", "individual_digits": True}
        state["pre_tokenizer"] = {
            "type": "Sequence",
            "pretokenizers": [digits, state["pre_tokenizer"]],
        }

    assert "their tokens are the same" in refusal(byte_level_view, remade(byte_level_view, words))


def test_a_byte_tokenizer_read_from_its_folder_is_the_same(tmp_path, caplog):
    view = byte_view()
    view.hf.save_pretrained(tmp_path)
    read = load_tokenizer(str(tmp_path))
    check_same_tokenizer([("this", view), ("that", read)])
    assert "split all tested texts alike" in caplog.text


def test_another_start_token_is_told_not_refused(byte_level_view, caplog):
    other = replace(byte_level_view, prepends_bos=False)
    check_same_tokenizer([("this", byte_level_view), ("that", other)])
    assert (
        "texts of this begin with the special token <bos> and those of that with the special token "
        "<eos>: in the ensemble both read the special token <bos>" in caplog.text
    )
