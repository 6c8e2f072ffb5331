"""The distribution of an ensemble, against its definition in double precision."""

from dataclasses import replace

import pytest
import torch
from tests.unit.evaluation.ensemble.tiny_members import FAMILIES, VOCAB, gemma3, llama, some_ids
from tests.unit.models.bytes.test_byte_lm import byte_model
from transformers import DynamicCache

from alm_lightning.evaluation.ensemble import Ensemble
from alm_lightning.likelihood import blocks
from alm_lightning.models.structure import unused_ids

WEIGHTS = [0.6, 0.1, 0.3]
COMBINES = ["mean_prob", "mean_logprob"]


@pytest.fixture(params=list(FAMILIES))
def family(request):
    return request.param


@pytest.fixture
def members(family):
    return FAMILIES[family]()


@torch.no_grad()
def by_definition(members, weights, combine, ids, num_tokens, without=()):
    """Log-probabilities of all tokens, [batch, pos, vocab], one row at a time."""
    rows = []
    for row in ids:
        logprobs = []
        for member in members:
            logits = member(row[None]).logits[0, :, :num_tokens].double()
            logits[:, list(without)] = -torch.inf
            logprobs.append(logits.log_softmax(-1))
        shares = torch.tensor(weights, dtype=torch.float64)[:, None, None]
        if combine == "mean_prob":
            rows.append((shares * torch.stack(logprobs).exp()).sum(0).log())
        else:
            mean = sum(w * p for w, p in zip(weights, logprobs, strict=True))
            rows.append(mean.log_softmax(-1))
    return torch.stack(rows)


def tokens_of(logprobs, ids):
    return logprobs[:, :-1].gather(2, ids[:, 1:, None]).squeeze(2)


@pytest.mark.parametrize("combine", COMBINES)
def test_probabilities_are_those_of_the_definition(family, members, combine):
    ids = some_ids(family)
    ensemble = Ensemble(members, combine, [6, 1, 3])
    output = ensemble(ids)
    expected = by_definition(members, WEIGHTS, combine, ids, ensemble.num_tokens)
    assert output.logits.dtype == torch.float32
    torch.testing.assert_close(output.logits.log_softmax(-1), expected.float())
    # the ways differ, and so do members, by far more than what is compared with
    other = COMBINES[combine == "mean_prob"]
    assert (by_definition(members, WEIGHTS, other, ids, 99) - expected[..., :99]).abs().max() > 0.05
    mean = sum(
        weight * member(ids).logits[..., : ensemble.num_tokens].logsumexp(-1)
        for weight, member in zip(WEIGHTS, members, strict=True)
    )
    torch.testing.assert_close(output.logits.logsumexp(-1), mean)


@pytest.mark.parametrize("combine", COMBINES)
def test_two_copies_of_a_model_have_its_logits(family, members, combine):
    ids = some_ids(family)
    model = members[0]
    # logits as large as those of real models
    model.get_output_embeddings().weight.data *= 4
    for weights in (None, [0.3, 0.7]):
        found = Ensemble([model, model], combine, weights)(ids).logits
        torch.testing.assert_close(found, model(ids).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("combine", COMBINES)
def test_token_logprobs_are_those_of_single_rows(family, members, combine):
    ids = some_ids(family, rows=3, length=12)
    mask = torch.arange(12) < torch.tensor([12, 7, 1])[:, None]
    ensemble = Ensemble(members, combine, WEIGHTS)
    expected = tokens_of(by_definition(members, WEIGHTS, combine, ids, ensemble.num_tokens), ids)
    found = ensemble.token_logprobs(ids, mask)
    torch.testing.assert_close(
        found[:, 1:], expected.masked_fill(~mask[:, 1:], 0).float(), atol=1e-5, rtol=1e-5
    )
    assert found[:, 0].tolist() == [0, 0, 0]
    alone = ensemble.member_logprobs(ids, mask)
    for member, own in zip(members, alone, strict=True):
        expected = tokens_of(by_definition([member], [1.0], combine, ids, ensemble.num_tokens), ids)
        torch.testing.assert_close(
            own[:, 1:], expected.masked_fill(~mask[:, 1:], 0).float(), atol=1e-5, rtol=1e-5
        )


def test_whole_logits_of_all_positions_are_never_made(monkeypatch):
    monkeypatch.setitem(blocks.BLOCK_SIZES, "cpu", (4, 16))
    members = FAMILIES["subwords"]()
    ids = some_ids("subwords", rows=3, length=15)
    mask = torch.ones_like(ids, dtype=torch.bool)
    sizes = []
    logaddexp = torch.logaddexp
    monkeypatch.setattr(torch, "logaddexp", lambda a, b: sizes.append(a.shape) or logaddexp(a, b))
    found = Ensemble(members, "mean_logprob", WEIGHTS).token_logprobs(ids, mask)
    assert max(sizes) == (4,)
    expected = by_definition(members, WEIGHTS, "mean_logprob", ids, VOCAB)
    torch.testing.assert_close(found[:, 1:], tokens_of(expected, ids).float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("combine", COMBINES)
def test_ids_that_no_token_has_get_no_mass(metaspace_view, combine):
    tokens = list(metaspace_view.token_bytes)
    gap = next(i for i in range(50, len(tokens)) if i not in metaspace_view.special_ids.values())
    tokens[gap] = None
    view = replace(metaspace_view, token_bytes=tokens)
    assert unused_ids(view).tolist() == [gap]
    members = [gemma3(view.num_tokens + 24), llama(view.num_tokens + 3)]
    ids = some_ids("subwords")
    ensemble = Ensemble(members, combine, view=view)
    logprobs = ensemble(ids).logits.log_softmax(-1)
    assert logprobs.shape[-1] == view.num_tokens == ensemble.config.vocab_size
    assert logprobs[..., gap].exp().max() == 0
    expected = by_definition(members, [0.5, 0.5], combine, ids, view.num_tokens, without=[gap])
    torch.testing.assert_close(logprobs, expected.float())
    mask = torch.ones_like(ids, dtype=torch.bool)
    torch.testing.assert_close(
        ensemble.token_logprobs(ids, mask)[:, 1:],
        tokens_of(expected, ids).float(),
        atol=1e-5,
        rtol=1e-5,
    )
    # two copies: the model's logits, but for those ids
    own = members[0](ids).logits[..., : view.num_tokens]
    own[..., gap] = -torch.inf
    found = Ensemble([members[0]] * 2, combine, view=view)(ids).logits
    torch.testing.assert_close(found, own, atol=1e-5, rtol=0)


@pytest.mark.parametrize("combine", COMBINES)
def test_a_member_without_weight_makes_no_difference_and_is_not_run(combine, monkeypatch):
    first, second, third = FAMILIES["subwords"]()
    ids = some_ids("subwords")
    monkeypatch.setattr(second, "forward", None)
    ensemble = Ensemble([first, second, third], combine, [1, 0, 1])
    torch.testing.assert_close(ensemble(ids).logits, Ensemble([first, third], combine)(ids).logits)
    assert ensemble.generate(ids, max_new_tokens=2).shape[1] > ids.shape[1]


def test_loss_is_the_mean_over_next_tokens(family, members):
    ids = some_ids(family)
    labels = ids.clone()
    labels[0, :4] = -100
    ensemble = Ensemble(members, weights=WEIGHTS)
    expected = tokens_of(
        by_definition(members, WEIGHTS, "mean_prob", ids, ensemble.num_tokens), ids
    )
    counted = expected[labels[:, 1:] != -100]
    torch.testing.assert_close(ensemble(ids, labels=labels).loss, -counted.mean().float())


def test_some_logits_only_and_tuples(family, members):
    ids = some_ids(family)
    ensemble = Ensemble(members)
    whole = ensemble(ids).logits
    torch.testing.assert_close(ensemble(ids, logits_to_keep=3).logits, whole[:, -3:])
    places = torch.tensor([1, 5])
    torch.testing.assert_close(ensemble(ids, logits_to_keep=places).logits, whole[:, places])
    torch.testing.assert_close(ensemble(ids, return_dict=False)[0], whole)


def test_members_stay_as_they_are():
    members = FAMILIES["subwords"]()
    before = [{n: p.clone() for n, p in m.state_dict().items()} for m in members]
    ensemble = Ensemble(members)
    ensemble.tie_weights()
    ensemble.train()
    assert not any(module.training for module in ensemble.modules())
    assert not any(parameter.requires_grad for parameter in ensemble.parameters())
    for member, kept in zip(members, before, strict=True):
        for name, parameter in member.state_dict().items():
            assert torch.equal(parameter, kept[name])
    assert ensemble.device.type == "cpu"
    assert ensemble.dtype == torch.float32
    # the shortest context: Gemma's is 512
    assert ensemble.config.max_position_embeddings == 256
    with pytest.raises(ValueError, match="is not saved"):
        ensemble.save_pretrained("anywhere")


def test_softcap_and_bias_of_members_count_without_a_tokenizer():
    capped = byte_model("gemma2")
    biased = llama(260)
    biased.lm_head.bias = torch.nn.Parameter(torch.randn(260))
    assert capped.config.get_text_config().final_logit_softcapping == 0.5
    ids = some_ids("bytes")
    mask = torch.ones_like(ids, dtype=torch.bool)
    for combine in COMBINES:
        found = Ensemble([capped, biased], combine).token_logprobs(ids, mask)
        expected = by_definition([capped, biased], [0.5, 0.5], combine, ids, 260)
        torch.testing.assert_close(
            found[:, 1:], tokens_of(expected, ids).float(), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("combine", COMBINES)
@pytest.mark.parametrize("part", ["layer", "head"])
def test_a_broken_member_is_named(combine, part):
    good, broken = FAMILIES["subwords"]()[:2]
    if part == "layer":
        broken.model.layers[0].mlp.up_proj.weight.data[3] = torch.nan
    else:
        broken.lm_head.weight.data[7] = torch.nan
    ids = some_ids("subwords")
    mask = torch.ones_like(ids, dtype=torch.bool)
    ensemble = Ensemble([good, broken], combine, names=["good", "the broken one"])
    message = "member the broken one of the ensemble gives logits that are not numbers"
    with pytest.raises(ValueError, match=message):
        ensemble(ids)
    with pytest.raises(ValueError, match=message):
        ensemble.token_logprobs(ids, mask)
    with pytest.raises(ValueError, match=message):
        ensemble.generate(ids, max_new_tokens=1)


def test_what_a_member_gives_for_padding_is_no_matter(monkeypatch):
    first, second = FAMILIES["subwords"]()[:2]
    ids = some_ids("subwords")
    mask = (torch.arange(9) >= torch.tensor([0, 4])[:, None]).long()
    forward = second.forward

    def broken_at_padding(**kwargs):
        output = forward(**kwargs)
        output.logits[1, :4] = torch.nan
        return output

    expected = Ensemble([first, second])(ids, mask).logits
    monkeypatch.setattr(second, "forward", broken_at_padding)
    found = Ensemble([first, second])(ids, mask).logits
    torch.testing.assert_close(found[mask.bool()], expected[mask.bool()])
    with pytest.raises(ValueError, match="not numbers"):
        Ensemble([first, second])(ids)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": [1]}, r"weights has 1 numbers \(\[1.0\]\): expected 2 numbers"),
        ({"weights": [2, -1]}, "none below 0"),
        ({"weights": [0, 0]}, "not all of them 0"),
        ({"weights": [1, float("nan")]}, "expected 2 numbers"),
        ({"weights": [1, float("inf")]}, "expected 2 numbers"),
        ({"combine": "median"}, "combine is 'median': expected one of mean_prob, mean_logprob"),
        ({"num_tokens": 100}, "num_tokens is 100, but the smallest .* has 99 rows"),
        ({"num_tokens": 0}, "num_tokens is 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Ensemble([gemma3(), llama()], **arguments)
    with pytest.raises(ValueError, match="no members"):
        Ensemble([])


def test_what_an_ensemble_has_not_is_refused():
    ensemble = Ensemble([gemma3(), llama()])
    ids = some_ids("subwords")
    with pytest.raises(ValueError, match="no output_hidden_states"):
        ensemble(ids, output_hidden_states=True)
    with pytest.raises(ValueError, match="a DynamicCache, expected an EnsembleCache"):
        ensemble(ids, cache=DynamicCache())
    with pytest.raises(ValueError, match="begins with padding"):
        ensemble.token_logprobs(ids, torch.arange(9).expand(2, 9) > 0)
