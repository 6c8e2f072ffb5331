"""The byte tokenizer: 256 bytes, and special tokens after them."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from alm_lightning.tokenization.byte_fast import byte_tokenizer
from alm_lightning.tokenization.view import TokenizerView

NUM_BYTES = 256
DEFAULT_ROLES = {"bos": "<bos>", "eos": "<eos>", "pad": "<pad>"}


def byte_view(
    roles: Mapping[str, str] = DEFAULT_ROLES, other_specials: Sequence[str] = ()
) -> TokenizerView:
    """The byte tokenizer: id b stands for the byte b, special tokens follow from 256 on.

    Args:
        roles: The texts of the ``bos``, ``eos`` and ``pad`` tokens.
        other_specials: Texts of further special tokens, such as the marks of a chat's turns.

    Returns:
        Its view.

    Example:
        >>> view = byte_view(other_specials=["<end_of_turn>"])
        >>> view.encode("é").ids, view.num_tokens, view.special_ids["<end_of_turn>"]
        (array([195, 169]), 260, 259)
    """
    specials = [*dict.fromkeys([roles["bos"], roles["eos"], roles["pad"], *other_specials])]
    special_ids = {content: NUM_BYTES + rank for rank, content in enumerate(specials)}
    return TokenizerView(
        name="bytes",
        token_bytes=[bytes([byte]) for byte in range(NUM_BYTES)] + [None] * len(specials),
        special_ids=special_ids,
        roles={role: special_ids[content] for role, content in roles.items()},
        fallback_ids=frozenset(),
        prepends_bos=True,
        encode_ids=_byte_ids,
        spell=str.encode,
        hf=byte_tokenizer(specials, bos=roles["bos"], eos=roles["eos"], pad=roles["pad"]),
    )


def _byte_ids(text: str) -> Int[np.ndarray, " pos"]:
    return np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int64)


def byte_view_like(old: TokenizerView, keep: Sequence[str]) -> TokenizerView:
    """The byte tokenizer with special tokens of an old one.

    Args:
        old: The tokenizer to replace: its BOS, EOS and pad tokens are kept. Where it has no BOS or
            no pad token, its EOS plays that role as well.
        keep: Texts of further special tokens to keep; those that `old` lacks are an error.

    Returns:
        The byte view.

    Raises:
        ValueError: If `old` lacks one of `keep`, or has no EOS.
    """
    missing = [content for content in keep if content not in old.special_ids]
    if missing:
        raise ValueError(
            f"tokenizer {old.name!r} has no special tokens {missing}, which "
            "student.special_tokens asks for. Leave them out, or check their spelling."
        )
    texts = {index: content for content, index in old.special_ids.items()}
    eos_id = old.id_of("eos")
    roles = {role: texts[old.roles.get(role, eos_id)] for role in ("bos", "eos", "pad")}
    return byte_view(roles, keep)
