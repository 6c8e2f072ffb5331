"""A byte student made from a loaded causal model: same body, bytes in, bytes out.

Method: Minixhofer, Vulić and Ponti (2025), arXiv:2503.20083. A byte begins as the old token that
spells exactly that byte, input and output come apart, and input expansion keeps the old
vocabulary's embeddings within reach.
"""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from alm_lightning.models.byte_config import ByteLMConfig
from alm_lightning.models.byte_lm import ByteForCausalLM
from alm_lightning.models.expansion import reversed_trie

NUM_BYTES = 256

BYTE_ROLES = {"bos": NUM_BYTES, "eos": NUM_BYTES + 1, "pad": NUM_BYTES + 2}
"""Ids of the special tokens that have a role, where each has a token of its own."""

UNSUPPORTED_HEADS = ("logit_scale", "logits_scaling", "lm_head_multiplier")
"""Config names of families that scale their logits (Cohere, Granite, Falcon-H1)."""


def single_byte_tokens(
    token_bytes: Sequence[bytes | None], fallback_ids: Collection[int] = ()
) -> list[int]:
    """The old token for each of the 256 bytes, in order.

    Args:
        token_bytes: What each old id stands for, None for special tokens.
        fallback_ids: Ids such as ``<0x61>``. An ordinary token for the same byte goes before them;
            among equals the lowest id.

    Returns:
        256 ids.

    Raises:
        ValueError: A byte has no token; the message names the bytes.
    """
    fallbacks = frozenset(fallback_ids)
    found: dict[bytes, int] = {}
    for wanted in (False, True):
        for token_id, surface in enumerate(token_bytes):
            if surface is not None and len(surface) == 1 and (token_id in fallbacks) == wanted:
                found.setdefault(surface, token_id)
    missing = [f"0x{byte:02X}" for byte in range(NUM_BYTES) if bytes([byte]) not in found]
    if missing:
        raise ValueError(
            f"the old vocabulary has no token for {len(missing)} of the 256 bytes: "
            f"{', '.join(missing)}. A byte student needs one for each to start from: choose a "
            "tokenizer with byte fallback or a byte-level alphabet."
        )
    return [found[bytes([byte])] for byte in range(NUM_BYTES)]


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
    special_ids: Mapping[str, int],
    fallback_ids: Collection[int],
    expansion: bool,
    train_expansion: bool,
    dtype: torch.dtype,
    roles: Mapping[str, int] = BYTE_ROLES,
) -> ByteForCausalLM:
    """A copy of `teacher_model` that reads and writes bytes. Shares no storage with it.

    Args:
        teacher_model: A loaded causal model; not changed.
        token_bytes: What each old id stands for; None for special tokens and unused rows.
        special_ids: Old id of each special token kept, in the order of the byte vocabulary: BOS,
            EOS, padding, then any others.
        fallback_ids: Old ids that spell a byte for want of a better token (``<0x61>``).
        expansion: Whether to add the embedding of the longest old token at each byte.
        train_expansion: Whether the old embeddings are trained along.
        dtype: Of the weights to be trained. The old embeddings stay in the teacher's dtype, so that
            the largest matrix is held once, in its own precision, unless they are trained too.
        roles: The new ids of ``bos``, ``eos`` and ``pad``, from 256 on.

    Returns:
        The student in training mode, on the teacher's device.

    Raises:
        ValueError: A byte or role lacks a token, ids lie outside the teacher's rows, or its head is
            of an unsupported kind.
    """
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
    if max(len(token_bytes), max(old_rows) + 1) > rows:
        raise ValueError(
            f"the vocabulary reaches up to {max(len(token_bytes), max(old_rows) + 1)} ids, but the "
            f"model has {rows} embedding rows. Take tokenizer and weights from one revision."
        )
    trie = reversed_trie(token_bytes, fallback_ids=fallback_ids) if expansion else None
    config = byte_config(
        body.config,
        num_special=len(special_ids),
        expansion_rows=0 if trie is None else len(old_input),
        expansion_nodes=1 if trie is None else len(trie.token_of_node),
        expansion_depth=0 if trie is None else trie.depth,
        roles=roles,
    )
    with torch.device("meta"):
        student = ByteForCausalLM(config)

    old_embedding = teacher_model.get_input_embeddings()
    tensors = {
        **_copies(body, dtype, "model.body.", without=old_embedding),
        **_copies(old_head, dtype, "lm_head.", rows=old_rows),
        **_copies(
            old_embedding, dtype, _name(student, student.get_input_embeddings()), rows=old_rows
        ),
    }
    if trie is not None:
        table_dtype = dtype if train_expansion else old_input.dtype
        tensors |= _copies(old_embedding, table_dtype, "model.expansion.embedding.")
        tensors["model.expansion.edge_keys"] = torch.from_numpy(trie.edge_keys)
        tensors["model.expansion.token_of_node"] = torch.from_numpy(trie.token_of_node)
    _fill(student, tensors, device=old_input.device)
    if trie is not None:
        student.model.expansion.embedding.weight.requires_grad_(train_expansion)
    return student.train()


def _copies(
    module: nn.Module,
    dtype: torch.dtype,
    prefix: str,
    *,
    rows: list[int] | None = None,
    without: nn.Module | None = None,
) -> dict[str, Tensor]:
    """Copies of a module's weights in `dtype`, and of its buffers as they are.

    With `rows`, that selection of each weight; `without` names a part to leave out.
    """
    left_out = set() if without is None else {id(tensor) for tensor in without.parameters()}
    copies = {}
    for name, weight in module.named_parameters():
        if id(weight) not in left_out:
            chosen = weight.detach() if rows is None else weight.detach()[rows]
            copies[prefix + name] = chosen.to(dtype, copy=True)
    # rotary frequencies and embedding scales are kept in no checkpoint, and lie in float32
    for name, buffer in module.named_buffers():
        copies[prefix + name] = buffer.detach().clone()
    return copies


def _name(model: nn.Module, part: nn.Module) -> str:
    """Path of `part` in `model`, as a prefix."""
    return next(name for name, module in model.named_modules() if module is part) + "."


def _fill(student: nn.Module, tensors: Mapping[str, Tensor], device: torch.device) -> None:
    """Put a tensor in the place of every weight and buffer on the meta device.

    Raises:
        ValueError: The student has weights that the teacher's body lacks.
    """
    places = [*student.named_parameters(), *student.named_buffers()]
    if missing := [name for name, _ in places if name not in tensors]:
        raise ValueError(
            f"the teacher gives no weights for {', '.join(missing)}: AutoModel builds another body "
            "from its config than the one it has. Only decoder-only text models can become byte "
            "students."
        )
    for name, place in places:
        parent, _, leaf = name.rpartition(".")
        filling = tensors[name].to(device)
        if isinstance(place, nn.Parameter):
            filling = nn.Parameter(filling)
        setattr(student.get_submodule(parent), leaf, filling)
