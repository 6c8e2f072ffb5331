"""Input expansion: the embedding of the longest former token that ends at each byte.

The trie is made by `expansion.py` of the project, and walked here on tensors (Minixhofer, Vulić and
Ponti 2025, arXiv:2503.20083).

This file travels with every exported byte student and is run there: torch and transformers are all
that it may import, and the files beside it that do likewise.
"""

import copy

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from .byte_config import ByteLMConfig

EDGE_RADIX = 512

NO_EDGE = 511
"""Stands for every id that is no byte: no edge of the trie has it, so a walk ends here."""


class InputExpansion(nn.Module):
    """Embedding of the longest former token that ends at each byte.

    The trie of reversed tokens is in buffers, so that it travels with the weights. Edge i, with
    key ``parent * 512 + byte``, leads to node i + 1.
    """

    def __init__(self, config: ByteLMConfig, byte_embedding: nn.Embedding):
        """An empty trie and uninitialised rows: the weights of a checkpoint fill both."""
        super().__init__()
        self.depth = config.expansion_depth
        weight = byte_embedding.weight
        # a copy of the body's own kind of embedding scales its rows as that family does (Gemma: by
        # the root of the width)
        self.embedding = copy.deepcopy(byte_embedding)
        self.embedding.num_embeddings = config.expansion_rows
        self.embedding.padding_idx = None
        self.embedding.weight = nn.Parameter(
            weight.new_empty(config.expansion_rows, weight.shape[1])
        )
        # transformers' mark on the original; these rows are not initialised yet
        self.embedding._is_hf_initialized = False
        edges = max(config.expansion_nodes - 1, 1)
        self.register_buffer("edge_keys", torch.full((edges,), torch.iinfo(torch.int64).max))
        self.register_buffer("token_of_node", torch.full((edges + 1,), -1, dtype=torch.int32))

    def longest_tokens(
        self,
        input_ids: torch.Tensor,
        history: torch.Tensor | None = None,
        reach: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Ids of the former tokens that the bytes complete, the longest one at each position.

        Args:
            input_ids: Byte ids [batch, pos]. An id from 256 on belongs to no token.
            history: Byte ids just before them [batch, any length]; None at the start of a text.
            reach: How many ids before each one are of the same text [batch, pos]; None where all
                are.

        Returns:
            Former ids [batch, pos], -1 where no former token ends.
        """
        most = max(self.depth - 1, 0)
        window = input_ids.new_full((len(input_ids), most), NO_EDGE)
        pieces = [window, input_ids] if history is None else [window, history, input_ids]
        ids = torch.cat(pieces, dim=1)[:, -(most + input_ids.shape[1]) :].clamp_max(NO_EDGE)

        dead_end = self.token_of_node.shape[0]
        node = torch.zeros_like(input_ids)
        longest = torch.full_like(input_ids, -1)
        for back in range(self.depth):
            key = node * EDGE_RADIX + ids[:, most - back : ids.shape[1] - back]
            edge = torch.searchsorted(self.edge_keys, key).clamp_max(len(self.edge_keys) - 1)
            found = self.edge_keys[edge] == key
            if reach is not None:
                found &= reach >= back
            # looking before launching more work costs a synchronisation on an accelerator
            if found.device.type == "cpu" and not found.any():
                break
            token = self.token_of_node[edge + 1].to(longest.dtype)
            longest = torch.where(found & (token >= 0), token, longest)
            node = torch.where(found, edge + 1, dead_end)
        return longest

    def forward(
        self,
        input_ids: torch.Tensor,
        history: torch.Tensor | None,
        dtype: torch.dtype,
        reach: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Scaled embeddings [batch, pos, hidden] in `dtype`, zero where no former token ends."""
        tokens = self.longest_tokens(input_ids, history, reach)
        rows = functional.embedding(tokens.clamp_min(0), self.embedding.weight).to(dtype)
        rows = rows * (tokens >= 0).unsqueeze(-1)
        # scaled after the cast: a table in bfloat16 would round the scale, too (Gemma: by 0.2 %)
        places = torch.arange(tokens.numel(), device=tokens.device).view_as(tokens)
        return functional_call(self.embedding, {"weight": rows.flatten(0, 1)}, places)


def hide_padding(
    input_ids: torch.Tensor, attention_mask: torch.Tensor | dict | None
) -> torch.Tensor:
    """The ids, with `NO_EDGE` where the mask (over these positions and any before) has 0.

    A token must not reach into padding, whichever id padding has. Four-dimensional masks do not
    say which positions are padding.
    """
    if not isinstance(attention_mask, torch.Tensor) or attention_mask.ndim != 2:
        return input_ids
    return input_ids.masked_fill(attention_mask[:, -input_ids.shape[1] :] == 0, NO_EDGE)


def reach_of(position_ids: torch.Tensor) -> torch.Tensor:
    """How many positions before each one belong to the same text of a packed row.

    A text ends where the next position is not one more, as transformers reads packed rows.
    """
    places = torch.arange(position_ids.shape[1], device=position_ids.device).expand_as(position_ids)
    starts = torch.zeros_like(places)
    starts[:, 1:] = places[:, 1:] * (position_ids.diff(dim=1) != 1)
    return places - starts.cummax(dim=1).values
