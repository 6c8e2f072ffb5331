"""A byte student made from a loaded causal model: same body, bytes in, bytes out.

Method: Minixhofer, Vulić and Ponti (2025), arXiv:2503.20083. A byte begins as the old token that
spells exactly that byte, input and output come apart, and input expansion keeps the old
vocabulary's embeddings within reach.
"""

import copy
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from transformers import PreTrainedConfig, PreTrainedModel

from alm_lightning.models.bytes.byte_config import ByteLMConfig
from alm_lightning.models.bytes.byte_lm import ByteForCausalLM
from alm_lightning.models.bytes.rows import (
    NUM_BYTES,
    new_rows,
    single_byte_tokens,
    warn_of_missing,
)
from alm_lightning.models.expansion import reversed_trie
from alm_lightning.models.generation import usable
from alm_lightning.models.structure import UNSUPPORTED_HEADS, refuse_byte_model, uninitialised

BYTE_ROLES = {"bos": NUM_BYTES, "eos": NUM_BYTES + 1, "pad": NUM_BYTES + 2}
"""Ids of the special tokens that have a role, where each has a token of its own."""


def byte_config(
    body_config: PreTrainedConfig,
    *,
    num_special: int,
    expansion_rows: int,
    expansion_nodes: int,
    expansion_depth: int,
    roles: Mapping[str, int] = BYTE_ROLES,
) -> ByteLMConfig:
    """Configuration of a byte model with this body; `ByteForCausalLM` makes random weights of it.

    Args:
        body_config: Text configuration of a decoder. Its own vocabulary is disregarded.
        num_special: Special tokens kept, from id 256 on.
        expansion_rows: Rows of the old embedding matrix, 0 for no input expansion.
        expansion_nodes: Nodes of the trie of old tokens.
        expansion_depth: Bytes of the longest old token.
        roles: The new ids of ``bos``, ``eos`` and ``pad``.

    Returns:
        The configuration, with the body's own way of computing attention.

    Raises:
        ValueError: A role's id is not one of the special tokens', or the body's family has an
            output head of an unsupported kind.
    """
    vocab_size = NUM_BYTES + num_special
    wrong = {role: new_id for role, new_id in roles.items() if not 256 <= new_id < vocab_size}
    if wrong:
        raise ValueError(
            f"the roles {wrong} lie outside the {num_special} special tokens' ids, from 256 to "
            f"{vocab_size - 1}. Keep a special token for each of bos, eos and pad, or say with "
            "roles= which ones share a token."
        )
    scaled = [name for name in UNSUPPORTED_HEADS if getattr(body_config, name, None) is not None]
    if scaled:
        raise ValueError(
            f"a {body_config.model_type} model scales its logits ({', '.join(scaled)}), which the "
            "byte head does not do. Choose a family without, or teach ByteForCausalLM.forward."
        )
    return ByteLMConfig(
        body_config=body_config,
        vocab_size=vocab_size,
        bos_token_id=roles["bos"],
        eos_token_id=roles["eos"],
        pad_token_id=roles["pad"],
        expansion_rows=expansion_rows,
        expansion_nodes=expansion_nodes,
        expansion_depth=expansion_depth,
        # a config that is given to another one forgets how its attention is computed
        attn_implementation=body_config._attn_implementation,
    )


def byte_student(
    teacher_model: PreTrainedModel,
    *,
    token_bytes: Sequence[bytes | None],
    special_ids: Mapping[str, int | None],
    fallback_ids: Collection[int],
    expansion: bool,
    train_expansion: bool,
    dtype: torch.dtype,
    roles: Mapping[str, int] = BYTE_ROLES,
    unwritten: Collection[str] = (),
) -> ByteForCausalLM:
    """A copy of `teacher_model` that reads and writes bytes. Shares no storage with it.

    A byte or a special token that no old token stands for starts as the mean of the ordinary old
    rows, and the log names it.

    Args:
        teacher_model: A loaded causal model; not changed.
        token_bytes: What each old id stands for; None for special tokens and unused rows.
        special_ids: Old id of each special token, in the order of the byte vocabulary: BOS, EOS,
            padding, then any others; None where the old vocabulary has nothing like it.
        fallback_ids: Old ids that spell a byte without a better token (``<0x61>``).
        expansion: Whether to add the embedding of the longest old token at each byte.
        train_expansion: Whether the old embeddings are trained along.
        dtype: Of the weights to be trained. The old embeddings stay in the teacher's dtype, so that
            the largest matrix is held once, in its own precision, unless they are trained too.
        roles: The new ids of ``bos``, ``eos`` and ``pad``, from 256 on.
        unwritten: Special tokens whose output row starts as the mean of the ordinary ones.

    Returns:
        The student in training mode, on the teacher's device.

    Raises:
        ValueError: All bytes or a role lack a token, ids lie outside the teacher's rows, or its
            head is of an unsupported kind.
    """
    refuse_byte_model(teacher_model)
    body = teacher_model.get_decoder()
    old_input = teacher_model.get_input_embeddings().weight.detach()
    old_head = teacher_model.get_output_embeddings()
    if old_head.bias is not None:
        raise ValueError(
            f"the output head of {type(teacher_model).__name__} has a bias, which the byte head "
            "has not. Choose a model without."
        )
    old_rows = [*single_byte_tokens(token_bytes, fallback_ids), *special_ids.values()]
    rows = min(len(old_input), len(old_head.weight))
    known_ids = [old_id for old_id in special_ids.values() if old_id is not None]
    reach = max([len(token_bytes), *(old_id + 1 for old_id in known_ids)])
    if reach > rows:
        raise ValueError(
            f"the vocabulary reaches up to {reach} ids, but the model has {rows} embedding rows. "
            "Take tokenizer and weights from one revision."
        )
    lost = [content for content, old_id in special_ids.items() if old_id is None]
    warn_of_missing(old_rows[:NUM_BYTES], lost)
    head_rows = [
        *old_rows[:NUM_BYTES],
        *(None if content in unwritten else old_id for content, old_id in special_ids.items()),
    ]
    ordinary = np.flatnonzero([surface is not None for surface in token_bytes])
    trie = reversed_trie(token_bytes, fallback_ids=fallback_ids) if expansion else None
    config = byte_config(
        body.config,
        num_special=len(special_ids),
        expansion_rows=0 if trie is None else len(old_input),
        expansion_nodes=1 if trie is None else len(trie.token_of_node),
        expansion_depth=0 if trie is None else trie.depth,
        roles=roles,
    )
    student = uninitialised(ByteForCausalLM, config, dtype)
    # by the place of the embeddings, since families name them as they like
    place = next(n for n, m in body.named_modules() if m is teacher_model.get_input_embeddings())
    copies = {
        f"model.body.{name}": tensor.to(dtype, copy=True)
        for name, tensor in body.state_dict().items()
        if name != f"{place}.weight"
    }
    copies[f"model.body.{place}.weight"] = new_rows(old_input, old_rows, ordinary, dtype)
    copies["lm_head.weight"] = new_rows(old_head.weight.detach(), head_rows, ordinary, dtype)
    if trie is not None:
        table_dtype = dtype if train_expansion else old_input.dtype
        copies["model.expansion.embedding.weight"] = old_input.to(table_dtype, copy=True)
        copies["model.expansion.edge_keys"] = torch.from_numpy(trie.edge_keys)
        copies["model.expansion.token_of_node"] = torch.from_numpy(trie.token_of_node)
    if difference := student.state_dict().keys() ^ copies.keys():
        raise ValueError(
            f"AutoModel builds another body from the config of {type(body).__name__} than the one "
            f"given: {', '.join(sorted(difference)[:5])} lie on one side only. Only plain decoders "
            "can become byte students."
        )
    student.load_state_dict(copies, assign=True)
    if trie is not None:
        student.model.expansion.embedding.weight.requires_grad_(train_expansion)
    return student.to(old_input.device).train()


def byte_copy(model: ByteForCausalLM, *, dtype: torch.dtype) -> ByteForCausalLM:
    """A copy of a byte model for training, which shares no storage with it.

    It is in training mode and on the same device. The old embeddings of the input expansion stay in
    their own dtype, and are not trained; all other weights get `dtype`.
    """
    student = uninitialised(ByteForCausalLM, copy.deepcopy(model.config), dtype)
    frozen = {"model.expansion.embedding.weight"}
    weights = {}
    for name, tensor in model.state_dict().items():
        is_trained = tensor.is_floating_point() and name not in frozen
        weights[name] = tensor.to(dtype, copy=True) if is_trained else tensor.clone()
    student.load_state_dict(weights, assign=True)
    for name, parameter in student.named_parameters():
        parameter.requires_grad_(name not in frozen)
    student.generation_config = usable(model.generation_config)
    return student.to(model.device).train()
