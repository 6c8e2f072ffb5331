"""A byte student begins as the model it was made from, and shares nothing with it."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma3TextConfig,
    LlamaConfig,
    PhiConfig,
)

from alm_lightning.models.bytes.byte_lm import ByteForCausalLM
from alm_lightning.models.bytes.rows import single_byte_tokens
from alm_lightning.models.bytes.student import byte_config, byte_student

FALLBACK = range(10, 266)
TOKEN_BYTES = [
    *(None, None, None),
    *(b"a", b"b", b" the", b"the", b"he", b"a", None),
    *(bytes([byte]) for byte in range(256)),
]
SPECIAL_IDS = {"<bos>": 2, "<eos>": 1, "<pad>": 0, "<turn>": 9}
ROWS = 272  # a few more than there are tokens

SIZES = {
    "vocab_size": ROWS,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
TIED = Gemma3TextConfig(**SIZES, head_dim=8, sliding_window=4, pad_token_id=0)
UNTIED = LlamaConfig(**SIZES)


def old_model(config=TIED, dtype=torch.bfloat16):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="eager")


def student_of(old, **changes):
    options = {
        "token_bytes": TOKEN_BYTES,
        "special_ids": SPECIAL_IDS,
        "fallback_ids": FALLBACK,
        "expansion": True,
        "train_expansion": False,
        "dtype": torch.float32,
    }
    return byte_student(old, **(options | changes))


def test_a_byte_starts_from_the_ordinary_token_that_spells_it():
    ids = single_byte_tokens(TOKEN_BYTES, FALLBACK)
    assert ids[ord("a")] == 3
    assert ids[ord("b")] == 4
    assert ids[0] == 10
    assert ids[255] == 265
    assert single_byte_tokens(TOKEN_BYTES)[ord("c")] == 10 + ord("c")
    lacking = [None if t in (b"\x00", b"\xff") else t for t in TOKEN_BYTES]
    assert single_byte_tokens(lacking, FALLBACK) == [None, *ids[1:255], None]
    with pytest.raises(ValueError, match=r"none of the old vocabulary's 3 tokens .* single byte"):
        single_byte_tokens([b"ab", None, b"the"])


@pytest.mark.parametrize("config", [TIED, UNTIED], ids=["tied", "untied"])
def test_rows_come_from_old_rows_and_the_body_is_the_same(config):
    old = old_model(config)
    student = student_of(old)
    kept = [*single_byte_tokens(TOKEN_BYTES, FALLBACK), *SPECIAL_IDS.values()]
    assert student.config.vocab_size == 260
    assert torch.equal(
        student.get_input_embeddings().weight, old.get_input_embeddings().weight[kept].float()
    )
    assert torch.equal(student.lm_head.weight, old.get_output_embeddings().weight[kept].float())
    old_body = dict(old.model.named_parameters())
    for name, weight in student.model.body.named_parameters():
        assert weight.dtype == torch.float32
        if "embed_tokens" not in name:
            assert torch.equal(weight, old_body[name].float())
    assert student.training
    assert student.model.body.config._attn_implementation == "eager"


@pytest.mark.parametrize("config", [TIED, UNTIED], ids=["tied", "untied"])
def test_a_byte_without_a_token_starts_as_the_mean(config, caplog):
    """SmolLM2's vocabulary has no token for 21 of the bytes."""
    old = old_model(config)
    lacking = [None if t in (b"\x00", b"\xff") else t for t in TOKEN_BYTES]
    whole, student = student_of(old), student_of(old, token_bytes=lacking)
    assert "no token for 2 of the 256 bytes (0x00, 0xFF): each starts as the mean" in caplog.text
    ordinary = [index for index, surface in enumerate(lacking) if surface is not None]
    for embeddings in ("get_input_embeddings", "get_output_embeddings"):
        made, full, rows = (getattr(m, embeddings)().weight for m in (student, whole, old))
        mean = rows[ordinary].double().mean(dim=0)
        for byte in (0, 255):
            torch.testing.assert_close(made[byte].double(), mean, rtol=0, atol=1e-7)
        is_known = torch.tensor([byte not in (0, 255) for byte in range(260)])
        assert torch.equal(made[is_known], full[is_known])


def test_hidden_states_are_those_of_the_old_model_on_the_same_input():
    old = old_model(dtype=torch.float32).eval()
    student = student_of(old, expansion=False).eval()
    ids = torch.tensor([[256, 97, 98, 200, 10]])
    old_ids = torch.tensor([[2, 3, 4, 210, 20]])
    expected = old.model(old_ids).last_hidden_state
    torch.testing.assert_close(student.model(ids).last_hidden_state, expected)


def test_old_embeddings_of_the_longest_token_are_added():
    old = old_model(dtype=torch.float32)
    student = student_of(old)
    ids = torch.tensor([[257, *b"a the"]])
    found = student.model.expansion.longest_tokens(ids)[0].tolist()
    assert found == [-1, 3, 10 + ord(" "), 10 + ord("t"), 10 + ord("h"), 5]
    embed = old.get_input_embeddings()
    expected = embed(torch.tensor([5])) + embed(torch.tensor([10 + ord("e")]))
    torch.testing.assert_close(student.model.embed(ids)[:, -1], expected)


@pytest.mark.parametrize(
    ("train_expansion", "dtype"), [(False, torch.bfloat16), (True, torch.float32)]
)
def test_the_big_matrix_keeps_its_precision_unless_it_is_trained(train_expansion, dtype):
    old = old_model()
    student = student_of(old, train_expansion=train_expansion)
    table = student.model.expansion.embedding.weight
    assert (table.dtype, table.requires_grad) == (dtype, train_expansion)
    assert all(p.requires_grad for p in student.parameters() if p is not table)
    assert student.model.embed(torch.tensor([[97]])).dtype == torch.float32


def test_the_precision_of_the_big_matrix_does_not_change_the_scale():
    # the root of 18 is no bfloat16 number
    old = old_model(Gemma3TextConfig(**(SIZES | {"hidden_size": 18}), head_dim=8))
    ids = torch.tensor([[256, *b"a the end"]])
    torch.testing.assert_close(
        student_of(old).model.embed(ids), student_of(old.float()).model.embed(ids), rtol=0, atol=0
    )
    row = old.get_input_embeddings().weight[2]
    torch.testing.assert_close(student_of(old).model.embed(ids)[0, 0], row.float() * 18**0.5)


def test_training_changes_the_student_alone():
    old = old_model()
    before = {name: tensor.clone() for name, tensor in old.state_dict().items()}
    student = student_of(old)
    with torch.no_grad():
        for tensor in [*student.parameters(), *student.buffers()]:
            tensor.add_(1)
    assert all(torch.equal(before[name], tensor) for name, tensor in old.state_dict().items())
    assert old.config.vocab_size == ROWS


def test_one_step_trains_every_byte_and_leaves_the_frozen_table():
    student = student_of(old_model())
    ids = torch.arange(256).view(4, 64)
    with torch.autocast("cpu", torch.bfloat16):
        student(ids, labels=ids, use_cache=False).loss.backward()
    grads = student.get_input_embeddings().weight.grad.abs().amax(1)
    last_in_row = ids[:, -1]  # predict nothing
    assert (grads[:256] > 0).sum() >= 256 - len(last_in_row)
    assert grads[0] > 0
    assert student.model.expansion.embedding.weight.grad is None


def test_roles_may_share_a_token():
    specials = {"<s>": 2, "</s>": 1}
    student = student_of(
        old_model(), special_ids=specials, roles={"bos": 256, "eos": 257, "pad": 257}
    )
    assert (student.config.vocab_size, student.config.pad_token_id) == (258, 257)
    assert student.generation_config.pad_token_id == 257
    with pytest.raises(ValueError, match=r"'pad': 258.* 256 to 257.*roles="):
        student_of(old_model(), special_ids=specials)


def test_what_cannot_be_done_is_refused():
    with pytest.raises(ValueError, match="300 ids, but the model has 272"):
        student_of(old_model(), special_ids=SPECIAL_IDS | {"<x>": 299})
    phi = {k: v for k, v in SIZES.items() if k != "num_key_value_heads"}
    with pytest.raises(ValueError, match="PhiForCausalLM has a bias"):
        student_of(old_model(PhiConfig(**phi)))
    with pytest.raises(ValueError, match=r"cohere model scales its logits \(logit_scale\)"):
        student_of(old_model(CohereConfig(**SIZES)))


def test_random_weights_from_a_config_alone():
    config = byte_config(
        UNTIED, num_special=4, expansion_rows=ROWS, expansion_nodes=50, expansion_depth=4
    )
    model = ByteForCausalLM(config)
    logits = model(torch.tensor([[256, 97, 98]])).logits
    assert logits.isfinite().all()
    assert logits.shape == (1, 3, 260)
    with torch.device("meta"):
        assert ByteForCausalLM(config).lm_head.weight.is_meta


def test_a_special_token_without_a_counterpart_starts_as_the_mean(caplog):
    old = old_model(dtype=torch.float32)
    student = student_of(old, special_ids=SPECIAL_IDS | {"<turn>": None})
    ordinary = [index for index, surface in enumerate(TOKEN_BYTES) if surface is not None]
    for embeddings in ("get_input_embeddings", "get_output_embeddings"):
        made, rows = (getattr(m, embeddings)().weight for m in (student, old))
        mean = rows[ordinary].double().mean(dim=0)
        torch.testing.assert_close(made[259].double(), mean, rtol=0, atol=1e-7)
        assert torch.equal(made[256:259], rows[[2, 1, 0]])
    assert "nothing like the special tokens <turn>: each starts as the mean" in caplog.text
    assert "of the 256 bytes" not in caplog.text
