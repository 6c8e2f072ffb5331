"""The byte model over three families of bodies: one pass, step by step, and in generation."""

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import DynamicCache, Gemma2Config, Gemma3TextConfig, LlamaConfig, set_seed

from alm_lightning.models.bytes.byte_lm import ByteForCausalLM, ByteLMConfig
from alm_lightning.models.expansion import reversed_trie

TOKENS = [b"a", b"b", b"ab", b"abab", b"ba", b"cab", b"c", None, b"\x00"]
PAD = 258

SIZES = {
    "vocab_size": 999,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
# windows of 8 are far shorter than what the tests generate
BODIES = {
    "gemma3": Gemma3TextConfig(
        **SIZES, num_hidden_layers=3, head_dim=8, sliding_window=8, sliding_window_pattern=2
    ),
    "gemma2": Gemma2Config(
        **SIZES, num_hidden_layers=2, head_dim=8, sliding_window=8, final_logit_softcapping=0.5
    ),
    "llama": LlamaConfig(**SIZES, num_hidden_layers=2),
}


def byte_model(family="gemma3", *, expansion=True, **kwargs):
    torch.manual_seed(0)
    trie = reversed_trie(TOKENS)
    config = ByteLMConfig(
        body_config=BODIES[family],
        vocab_size=260,
        expansion_rows=len(TOKENS) if expansion else 0,
        expansion_nodes=len(trie.token_of_node),
        expansion_depth=trie.depth,
        **kwargs,
    )
    model = ByteForCausalLM(config).eval()
    if expansion:
        model.model.expansion.edge_keys.copy_(torch.from_numpy(trie.edge_keys))
        model.model.expansion.token_of_node.copy_(torch.from_numpy(trie.token_of_node))
        torch.nn.init.normal_(model.model.expansion.embedding.weight, std=0.3)
    torch.nn.init.normal_(model.get_input_embeddings().weight, std=0.3)
    torch.nn.init.normal_(model.lm_head.weight, std=0.3)
    return model


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    # layers this small spend their time waiting for a second thread
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=list(BODIES))
def model(request):
    return byte_model(request.param)


def random_ids(rows, length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(97, 100, (rows, length), generator=generator)


def test_input_is_the_scaled_sum_of_byte_and_token_rows(model):
    ids = torch.tensor([[256, 97, 98, 97, 98, 120]])
    byte_rows = model.get_input_embeddings().weight[ids[0]]
    old_rows = model.model.expansion.embedding.weight[[0, 0, 2, 4, 3, 0]].clone()
    old_rows[[0, 5]] = 0
    scale = 32**0.5 if model.config.body_config.model_type.startswith("gemma") else 1.0
    torch.testing.assert_close(model.model.embed(ids)[0], scale * (byte_rows + old_rows))


def test_every_byte_row_is_trained_and_the_padding_row_is_not(model):
    ids = torch.tensor([[0, 97, PAD]])
    model.zero_grad()
    model.model.embed(ids).sum().backward()
    grad = model.get_input_embeddings().weight.grad
    assert grad[0].abs().min() > 0
    assert grad[PAD].abs().max() == 0
    assert model.model.expansion.embedding.weight.grad[8].abs().min() > 0


def test_the_same_model_as_its_body_with_embeddings_and_head(model):
    ids = random_ids(2, 20)
    out = model(ids, output_hidden_states=True, use_cache=False)
    body = model.model.body(inputs_embeds=model.model.embed(ids), use_cache=False)
    logits = body.last_hidden_state @ model.lm_head.weight.T
    if model.config.final_logit_softcapping:
        assert out.logits.abs().max() <= 0.5
        logits = torch.tanh(logits / 0.5) * 0.5
    torch.testing.assert_close(out.logits, logits)
    assert len(out.hidden_states) == model.config.num_hidden_layers + 1
    torch.testing.assert_close(model(ids, logits_to_keep=3).logits, logits[:, -3:])
    labels = ids.masked_fill(ids == 99, -100)
    loss = cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    torch.testing.assert_close(model(ids, labels=labels).loss, loss)
    by_count = model(ids, labels=labels, num_items_in_batch=7).loss
    torch.testing.assert_close(by_count, loss * (labels[:, 1:] != -100).sum() / 7)
    assert isinstance(model(ids, return_dict=False), tuple)


@torch.no_grad()
def test_steps_by_hand_are_the_argmax_of_whole_passes(model):
    ids = random_ids(2, 5)
    out = model(ids, use_cache=True)
    chosen = []
    for _ in range(64):
        chosen.append(out.logits[:, -1:].argmax(-1))
        out = model(chosen[-1], cache=out.cache, use_cache=True)
    whole = torch.cat([ids, *chosen], dim=1)
    logits = model(whole, use_cache=False).logits
    assert torch.equal(logits[:, 4:-1].argmax(-1), whole[:, 5:])
    torch.testing.assert_close(out.logits[:, -1], logits[:, -1], rtol=1e-4, atol=1e-5)
    generated = model.generate(ids, max_new_tokens=64, do_sample=False, eos_token_id=None)
    assert torch.equal(generated, whole)


@torch.no_grad()
def test_pieces_of_any_length_through_the_cache_give_the_whole_pass(model):
    ids = random_ids(2, 24, seed=1)
    whole = model(ids, use_cache=False).logits
    cache, logits, start = None, [], 0
    for size in (1, 1, 2, 7, 1, 12):
        out = model(ids[:, start : start + size], past_key_values=cache, use_cache=True)
        cache, start = out.past_key_values, start + size
        logits.append(out.logits)
    torch.testing.assert_close(torch.cat(logits, dim=1), whole, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("pad", [PAD, ord("a")])
def test_left_padded_batches_generate_what_single_rows_do(model, pad):
    # a pad id that is a byte is hidden by the mask alone
    prompts = [random_ids(1, n, seed=n) for n in (3, 9, 6)]
    alone = [
        model.generate(p, max_new_tokens=20, eos_token_id=None)[0, p.shape[1] :] for p in prompts
    ]
    width = max(p.shape[1] for p in prompts)
    ids = torch.full((3, width), pad)
    mask = torch.zeros(3, width, dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        ids[row, -prompt.shape[1] :] = prompt
        mask[row, -prompt.shape[1] :] = 1
    together = model.generate(ids, attention_mask=mask, max_new_tokens=20, eos_token_id=None)
    assert torch.equal(together[:, width:], torch.stack(alone))


@torch.no_grad()
def test_sampling_and_beams_do_not_depend_on_the_cache(model):
    # in double precision: a cached step rounds otherwise, and a draw may lie between both
    model = copy.deepcopy(model).double()
    ids = random_ids(2, 6)
    for options in ({"do_sample": True}, {"num_beams": 3, "num_return_sequences": 2}):
        results = []
        for use_cache in (True, False):
            set_seed(0)
            results.append(model.generate(ids, max_new_tokens=16, use_cache=use_cache, **options))
        assert torch.equal(*results)


@torch.no_grad()
def test_generation_goes_on_from_a_cache(model):
    ids = random_ids(1, 9)
    expected = model.generate(ids, max_new_tokens=12, eos_token_id=None)
    cache = model(ids[:, :7], use_cache=True).cache
    assert torch.equal(
        model.generate(ids, cache=cache, max_new_tokens=12, eos_token_id=None), expected
    )
    chunked = model.generate(ids, max_new_tokens=12, eos_token_id=None, prefill_chunk_size=4)
    assert torch.equal(chunked, expected)


@torch.no_grad()
def test_a_cache_without_its_bytes_is_refused_and_a_cropped_one_is_not():
    model = byte_model("llama")
    ids = random_ids(1, 12)
    foreign = DynamicCache(config=model.config)
    embedded = model.model.embed(ids[:, :8])
    model(inputs_embeds=embedded, cache=foreign, use_cache=True)
    with pytest.raises(
        ValueError, match=r"cache of 8 positions .* 0 bytes .* last 3 .*byte_history"
    ):
        model(ids[:, 8:], cache=foreign)
    whole = model(ids, use_cache=False).logits
    out = model(ids[:, 8:], cache=foreign, byte_history=ids[:, 5:8], use_cache=True)
    torch.testing.assert_close(out.logits, whole[:, 8:], rtol=1e-4, atol=1e-5)
    out.cache.crop(-2)
    again = model(ids[:, 10:], cache=out.cache)
    torch.testing.assert_close(again.logits, whole[:, 10:], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"in 1 rows; .* 2 rows"):
        model(ids[:, 10:].repeat(2, 1), cache=out.cache)
    out.cache.reset()
    torch.testing.assert_close(model(ids, cache=out.cache).logits, whole, rtol=1e-4, atol=1e-5)


def test_without_expansion_it_is_a_plain_model():
    model = byte_model("llama", expansion=False)
    assert not any("expansion" in name for name in model.state_dict())
    ids = random_ids(1, 6)
    whole = torch.cat(
        [ids, model.generate(ids, max_new_tokens=10, eos_token_id=None)[:, 6:]], dim=1
    )
    assert torch.equal(model(whole).logits[:, 5:-1].argmax(-1), whole[:, 6:])


def test_gradient_checkpointing_gives_the_same_gradients():
    grads = []
    for checkpointing in (False, True):
        model = byte_model().train()
        if checkpointing:
            model.activation_checkpointing_enable()
            assert model.model.body.is_activation_checkpointing
        model(random_ids(2, 12), labels=random_ids(2, 12), use_cache=False).loss.backward()
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(*grads)


def test_attention_implementation_reaches_the_body():
    eager = byte_model(attn_implementation="eager")
    assert eager.model.body.config._attn_implementation == "eager"
    sdpa = byte_model()
    assert sdpa.model.body.config._attn_implementation == "sdpa"
    ids = random_ids(2, 20)
    torch.testing.assert_close(eager(ids).logits, sdpa(ids).logits, rtol=1e-4, atol=1e-5)
    sdpa.set_attn_implementation("eager")
    assert sdpa.model.body.config._attn_implementation == "eager"
    assert len(sdpa(ids, output_attentions=True).attentions) == 3


def test_weights_survive_a_folder_in_any_precision(tmp_path, model):
    model.save_pretrained(tmp_path)
    ids = random_ids(1, 12)
    read = ByteForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    torch.testing.assert_close(read(ids).logits, model(ids).logits, rtol=0, atol=0)
    half = ByteForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    assert half.model.expansion.edge_keys.dtype == torch.int64
    assert half(ids).logits.dtype == torch.bfloat16
