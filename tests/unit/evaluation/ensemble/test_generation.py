"""Generation by an ensemble: with one cache a member as without, in batches as alone."""

import pytest
import torch
from tests.unit.evaluation.ensemble.tiny_members import FAMILIES, some_ids
from transformers import GenerationConfig, set_seed

from alm_lightning.evaluation.ensemble import Ensemble
from alm_lightning.evaluation.ensemble.cache import EnsembleCache
from alm_lightning.models.bytes.byte_lm import CACHE

PAD = {"subwords": 0, "bytes": 258}
WAYS = {
    "greedy": {},
    "two samples": {"do_sample": True, "temperature": 1.5, "num_return_sequences": 2},
    "two of three beams": {"num_beams": 3, "num_return_sequences": 2},
}
STEPS = 11
KNOWN_BYTES = [97, 98, 99]


def generate(model, ids, family, mask=None, **kwargs):
    # longer than a sliding window of 4 or 8; nothing ends it
    set_seed(3)
    if family == "bytes":
        # bytes that former tokens are made of, so that what stood before a byte matters
        kwargs["prefix_allowed_tokens_fn"] = lambda *_: KNOWN_BYTES
    return model.generate(
        ids,
        attention_mask=torch.ones_like(ids) if mask is None else mask,
        max_new_tokens=STEPS,
        min_new_tokens=STEPS,
        pad_token_id=PAD[family],
        **kwargs,
    )


@pytest.fixture(params=list(FAMILIES))
def family(request):
    return request.param


@pytest.fixture(params=["mean_prob", "mean_logprob"])
def ensemble(family, request):
    return Ensemble(FAMILIES[family](), request.param, [0.5, 0.2, 0.3])


def left_padded(family):
    ids = some_ids(family, rows=3, length=9)
    mask = torch.arange(9) >= torch.tensor([0, 4, 7])[:, None]
    return ids.masked_fill(~mask, PAD[family]), mask.long()


@pytest.mark.parametrize("way", list(WAYS))
def test_a_cache_makes_no_difference(ensemble, family, way):
    ids, mask = left_padded(family)
    found = generate(ensemble, ids, family, mask, **WAYS[way])
    assert found.shape[1] == 9 + STEPS
    assert torch.equal(found, generate(ensemble, ids, family, mask, use_cache=False, **WAYS[way]))


@pytest.mark.parametrize("way", ["greedy", "two of three beams"])
def test_padded_rows_are_those_of_single_prompts(ensemble, family, way):
    ids, mask = left_padded(family)
    found = generate(ensemble, ids, family, mask, **WAYS[way])
    # rows of a tiny model tend to repeat themselves: these do not all say the same
    assert len({tuple(row.tolist()) for row in found[:, 9:]}) > 1
    for row, padding in enumerate((0, 4, 7)):
        alone = generate(ensemble, ids[row : row + 1, padding:], family, **WAYS[way])
        each = len(alone)
        assert torch.equal(found[row * each : (row + 1) * each, padding:], alone)


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("combine", ["mean_prob", "mean_logprob"])
def test_two_copies_generate_what_the_model_does(family, combine, way):
    for model in FAMILIES[family]():
        ids, mask = left_padded(family)
        own = generate(model, ids, family, mask, **WAYS[way])
        two = generate(Ensemble([model, model], combine), ids, family, mask, **WAYS[way])
        assert torch.equal(own, two)


def test_greedy_takes_the_likeliest_token_of_the_mixture(ensemble, family):
    ids = some_ids(family, rows=1)
    found = generate(ensemble, ids, family)
    for length in range(9, found.shape[1]):
        logits = ensemble(found[:, :length], use_cache=False).logits[0, -1].clone()
        # min_new_tokens lets nothing end
        logits[ensemble.generation_config.eos_token_id] = -torch.inf
        allowed = KNOWN_BYTES if family == "bytes" else range(len(logits))
        assert max(allowed, key=lambda index: float(logits[index])) == found[0, length]


def test_steps_by_hand_have_the_logits_of_one_pass(ensemble, family):
    ids = some_ids(family, rows=2, length=15)
    whole = ensemble(ids, use_cache=False).logits
    cache, parts = None, []
    for start, stop in ((0, 6), (6, 7), (7, 12), (12, 15)):
        output = ensemble(ids[:, start:stop], cache=cache, use_cache=True)
        cache = getattr(output, CACHE)
        parts.append(output.logits)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-5)
    assert isinstance(cache, EnsembleCache)
    assert cache.get_seq_length() == 15
    # forgetting the end leaves what was before: byte members know their last bytes again
    if not any(cache.is_sliding):
        cache.crop(-5)
        again = ensemble(ids[:, 10:], past_key_values=cache).logits
        torch.testing.assert_close(again, whole[:, 10:], atol=1e-5, rtol=1e-5)


def test_rows_of_a_cache_are_chosen_in_all_members():
    members = FAMILIES["subwords"]()
    ensemble = Ensemble(members)
    ids = some_ids("subwords", rows=3, length=7)
    whole = ensemble(ids, use_cache=False).logits[:, 6:]

    def after(change):
        cache = getattr(ensemble(ids[:, :6], use_cache=True), CACHE)
        change(cache)
        return cache

    rows = torch.tensor([2, 0, 0])
    for change in (lambda c: c.reorder_cache(rows), lambda c: c.batch_select_indices(rows)):
        found = ensemble(ids[rows, 6:], cache=after(change)).logits
        torch.testing.assert_close(found, whole[rows], atol=1e-5, rtol=1e-5)
    doubled = after(lambda c: c.batch_repeat_interleave(2))
    found = ensemble(ids[:, 6:].repeat_interleave(2, 0), cache=doubled).logits
    torch.testing.assert_close(found, whole.repeat_interleave(2, 0), atol=1e-5, rtol=1e-5)
    # each with the layers of its own configuration: windows of 4 are all that is kept of some
    assert EnsembleCache.empty(members).is_sliding == [True, *[False] * 5]
    empty = after(lambda c: c.reset())
    assert empty.get_seq_length() == 0
    assert not empty.is_compileable


def test_generation_goes_on_from_a_cache(ensemble, family):
    ids = some_ids(family, rows=1, length=12)
    first = ensemble.generate(
        ids[:, :8], max_new_tokens=1, return_dict_in_generate=True, pad_token_id=PAD[family]
    )
    cache = getattr(first, CACHE)
    assert isinstance(cache, EnsembleCache)
    found = generate(ensemble, ids, family, **{CACHE: cache})
    assert torch.equal(found, generate(ensemble, ids, family))


def test_settings_of_generation_are_the_first_members():
    members = FAMILIES["subwords"]()
    members[0].generation_config = GenerationConfig(eos_token_id=[1, 4], pad_token_id=3)
    ensemble = Ensemble(members)
    assert ensemble.generation_config.eos_token_id == [1, 4]
    assert ensemble.generation_config is not members[0].generation_config
    with pytest.raises(ValueError, match="cache_implementation is 'static'"):
        ensemble.generate(some_ids("subwords"), max_new_tokens=1, cache_implementation="static")
