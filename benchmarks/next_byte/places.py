"""Places in texts where a token might have ended, and what the teacher says there."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from alm_lightning.tokenization.trie import ROOT
from alm_lightning.tokenization.view import TokenizerView

SPECIAL, CLASSES = 256, 257
"""The classes of a next byte: 256 bytes, and all that stands for no text."""
ROWS = 64
"""Positions whose probabilities are made at a time."""
CHECKED = 4
"""Alternatives of a window of which `Teacher.difference` makes passes of their own."""


@dataclass
class Places:
    """Places in texts, each after k > 0 bytes of the token that covers the byte before it.

    Attributes:
        k: Bytes u of the token before the place.
        is_inner: Whether the token goes on after it.
        e: Probability that the token ends, given that it begins with u.
        token: The token that is u and nothing else; -1 for none.
        cont: Probabilities of the next byte within the token; they and e sum to 1.
        after: First byte after the token u, N; 0 where it was not computed.
        at_end: First byte after the token of the text.
        state: What the model predicted the token from.
    """

    k: np.ndarray
    is_inner: np.ndarray
    e: np.ndarray
    token: np.ndarray
    cont: np.ndarray
    after: np.ndarray
    at_end: np.ndarray
    state: np.ndarray

    def where(self, mask: np.ndarray) -> "Places":
        return Places(*(getattr(self, field.name)[mask] for field in fields(self)))

    @classmethod
    def joined(cls, parts: list["Places"]) -> "Places":
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))


class Teacher:
    """A model, and what it says of bytes."""

    def __init__(self, model: PreTrainedModel, view: TokenizerView):
        self.model, self.view, self.trie = model, view, view.trie
        self.config = model.config.get_text_config()
        head = model.get_output_embeddings().weight.detach()
        no_text = np.setdiff1d(np.arange(len(head)), self.trie.order)
        # by rank; in float32, for logits of bfloat16 are off by up to 0.2 nats
        self.head = head[torch.from_numpy(np.r_[self.trie.order, no_text])].float()

    @torch.inference_mode()
    def after_tokens(self, tokens: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """First byte after each token of a window, and the state that predicted the token."""
        hidden = self._reads([self.view.start_id, *tokens])
        return self._openings(hidden[1:]), hidden[:-1].numpy()

    @torch.inference_mode()
    def places(self, tokens: list[int], least: float) -> Places:
        """All places of a window; N wherever e is at least `least`."""
        trie, ids = self.trie, [self.view.start_id, *tokens]
        hidden = self._reads(ids)
        below = np.concatenate([self._below(part) for part in hidden[:-1].split(ROWS)])

        lengths = trie.lengths[tokens]
        pos = np.repeat(np.arange(len(tokens)), lengths)
        k = np.concatenate([np.arange(1, length + 1) for length in lengths])
        nodes = trie.path_nodes[trie.path_start[tokens][pos] + k - 1]
        first, own_end = trie.first[nodes], trie.own_end[nodes]
        mass = below[pos, trie.last[nodes]] - below[pos, first]
        e = (below[pos, own_end] - below[pos, first]) / mass

        count = trie.num_children[nodes]
        parent = np.repeat(np.arange(len(nodes)), count)
        child = np.arange(count.sum()) + np.repeat(
            trie.child_start[nodes] - count.cumsum() + count, count
        )
        inside = below[pos[parent], trie.last[child]] - below[pos[parent], trie.first[child]]
        cont = np.zeros((len(nodes), CLASSES))
        cont[parent, trie.byte[child]] = inside / mass[parent]

        # of several tokens of the same bytes the likeliest
        token = np.array(
            [
                trie.order[lo + np.diff(below[row, lo : end + 1]).argmax()] if end > lo else -1
                for row, lo, end in zip(pos, first, own_end, strict=True)
            ]
        )
        is_inner = k < lengths[pos]
        at_end = self._openings(hidden[1:])[pos]
        after = np.where(is_inner[:, None], 0, at_end)
        chosen = is_inner & (e >= least)
        if chosen.any():
            states = self._alternatives(ids, token[chosen].tolist(), torch.from_numpy(pos[chosen]))
            after[chosen] = self._openings(states)
        return Places(k, is_inner, e, token, cont, after, at_end, hidden.numpy()[pos])

    @torch.inference_mode()
    def difference(self, tokens: list[int], places: Places) -> float:
        """Largest total variation of some alternatives' N from that of passes of their own."""
        starts = np.repeat(np.arange(len(tokens)), self.trie.lengths[tokens])
        found = [0.0]
        for place in np.flatnonzero(places.is_inner & (places.after.sum(axis=1) > 0))[:CHECKED]:
            before = [self.view.start_id, *tokens[: starts[place]]]
            alone = self._openings(self._reads([*before, int(places.token[place])])[-1:])[0]
            found.append(abs(alone - places.after[place]).sum() / 2)
        return max(found)

    def _alternatives(self, ids: list[int], others: list[int], pos: Tensor) -> Tensor:
        """States of tokens, each in place of what follows the first `pos` + 1 ids."""
        size = len(ids)
        sees = torch.eye(size + len(others)).bool()
        sees[:size, :size] = torch.ones(size, size).tril_().bool()
        sees[size:, :size] = torch.arange(size) <= pos[:, None]
        positions = torch.cat([torch.arange(size), pos + 1])
        return self._hidden([*ids, *others], positions, sees)[size:]

    def _reads(self, ids: list[int]) -> Tensor:
        """States of a text as it is."""
        sees = torch.ones(len(ids), len(ids)).tril_().bool()
        return self._hidden(ids, torch.arange(len(ids)), sees)

    def _hidden(self, ids: list[int], positions: Tensor, sees: Tensor) -> Tensor:
        """States of tokens, each of which sees what it is told to."""
        near = positions[:, None] - positions < (getattr(self.config, "sliding_window", 0) or 0)
        zeros = torch.zeros(1, 1, *sees.shape, dtype=self.model.dtype)
        full, sliding = (
            zeros.masked_fill(~seen, torch.finfo(zeros.dtype).min) for seen in (sees, sees & near)
        )
        mixed = "sliding_attention" in (getattr(self.config, "layer_types", None) or ())
        masks = {"full_attention": full, "sliding_attention": sliding} if mixed else full
        found = self.model.get_decoder()(
            input_ids=torch.tensor(ids)[None],
            position_ids=positions[None],
            attention_mask=masks,
            use_cache=False,
        )
        return found.last_hidden_state[0].float()

    def _below(self, hidden: Tensor) -> np.ndarray:
        """Probability of all tokens below each rank; those without bytes come last."""
        logits = hidden @ self.head.T
        if cap := getattr(self.config, "final_logit_softcapping", None):
            logits = (logits / cap).tanh_() * cap
        sums = torch.zeros(len(logits), len(self.head) + 1, dtype=torch.double)
        torch.cumsum(logits.softmax(dim=1), 1, dtype=torch.double, out=sums[:, 1:])
        return sums.numpy()

    def _openings(self, hidden: Tensor) -> np.ndarray:
        """Distribution of the next token's first byte."""
        child = self.trie.child_start[ROOT] + np.arange(self.trie.num_children[ROOT])
        found = np.zeros((len(hidden), CLASSES))
        for start in range(0, len(hidden), ROWS):
            below = self._below(hidden[start : start + ROWS])
            part = found[start : start + ROWS]
            part[:, self.trie.byte[child]] = (
                below[:, self.trie.last[child]] - below[:, self.trie.first[child]]
            )
            part[:, SPECIAL] = below[:, -1] - below[:, len(self.trie.order)]
        return found
