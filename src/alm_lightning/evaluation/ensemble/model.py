"""Several causal language models over one tokenizer that are used as one."""

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn
from transformers import Cache, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils import can_return_tuple

from alm_lightning.evaluation.ensemble.cache import EnsembleCache, check_cache
from alm_lightning.evaluation.ensemble.config import EnsembleConfig, checked_size
from alm_lightning.evaluation.ensemble.generation import EnsembleGeneration, refuse_internals
from alm_lightning.evaluation.ensemble.mixture import (
    COMBINES,
    MEAN_PROB,
    checked_weights,
    combined_logits,
    geometric_logprobs,
    mixture_logprobs,
)
from alm_lightning.evaluation.ensemble.scores import (
    check_numbers,
    scattered,
    scored_tokens,
)
from alm_lightning.likelihood.head import OutputHead
from alm_lightning.likelihood.score import hidden_before, scored_logprobs
from alm_lightning.models.bytes.byte_lm import CACHE
from alm_lightning.models.structure import head_of, last_hidden, unused_ids
from alm_lightning.tokenization.view import TokenizerView


class Ensemble(PreTrainedModel, EnsembleGeneration, GenerationMixin):
    """A causal language model of transformers whose distribution is that of its members, combined.

    Two copies of one model have that model's logits. Members are used as they are: they are put
    into eval mode, and get no gradient. A member of weight 0 is not run.

    Args:
        models: Causal language models that read and predict the same ids: see
            `members.check_same_tokenizer`.
        combine: ``mean_prob``, the weighted mean of probabilities, or ``mean_logprob``, the
            weighted geometric mean, renormalised.
        weights: One a member, none below 0; they are divided by their sum. Equal if None.
        num_tokens: Number of ids of the tokenizer; None for that of `view`, or the rows of the
            smallest output matrix.
        view: The tokenizer, if ids that no token has are to get no mass.
        names: What errors call the members; their place and class if None.

    Attributes:
        members: The models.
    """

    config_class = EnsembleConfig
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = _supports_attention_backend = True

    def __init__(
        self,
        models: Sequence[PreTrainedModel],
        combine: str = MEAN_PROB,
        weights: Sequence[float | int] | None = None,
        num_tokens: int | None = None,
        *,
        view: TokenizerView | None = None,
        names: Sequence[str] | None = None,
    ):
        if not models:
            raise ValueError("an ensemble has no members. Give it at least one model.")
        if combine not in COMBINES:
            raise ValueError(f"combine is {combine!r}: expected one of {', '.join(COMBINES)}.")
        weights = checked_weights(weights, len(models))
        if num_tokens is None and view is not None:
            num_tokens = view.num_tokens
        num_tokens = checked_size(models, num_tokens)
        super().__init__(EnsembleConfig.of(models, num_tokens))
        # not post_init(), which would give new random weights to parts of members made elsewhere
        self.all_tied_weights_keys = {}
        self.members = nn.ModuleList(models)
        self.requires_grad_(False).eval()
        self.names = list(names or [f"{i} ({type(m).__name__})" for i, m in enumerate(models)])
        self.combine, self.weights, self.num_tokens = combine, weights, num_tokens
        self.generation_config = copy.deepcopy(models[0].generation_config)
        self.generation_config._from_model_config = False
        self._active = [index for index, weight in enumerate(weights) if weight > 0]
        self._shares = [weights[index] for index in self._active]
        ids = np.zeros(0, np.int64) if view is None else unused_ids(view)
        unused = torch.from_numpy(ids[ids < num_tokens]).to(self.device)
        self.register_buffer("unused", unused, persistent=False)
        self.loss_type = "ForCausalLM"

    @property
    def running(self) -> list[PreTrainedModel]:
        """The members that have a weight."""
        return [self.members[index] for index in self._active]

    @property
    def device(self) -> torch.device:
        """Where ids are expected, and logits are given."""
        return self.members[0].device

    def train(self, mode: bool = True) -> "Ensemble":
        """Stays in eval mode: members are frozen."""
        return super().train(False)

    def tie_weights(self, *args: object, **kwargs: object) -> None:
        """Nothing: members have tied theirs, or not, when they were loaded."""

    def save_pretrained(self, *args: object, **kwargs: object) -> None:
        """Refuses: an ensemble has no weights of its own."""
        raise ValueError(
            "an ensemble is not saved. Keep the folders of its members, and combine them."
        )

    @can_return_tuple
    def forward(
        self,
        input_ids: Int[Tensor, "batch pos"],
        attention_mask: Shaped[Tensor, "..."] | None = None,
        position_ids: Int[Tensor, "..."] | None = None,
        past_key_values: Cache | None = None,
        labels: Int[Tensor, "batch pos"] | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Int[Tensor, " kept"] = 0,
        cache: Cache | None = None,
        member_inputs: Sequence[Mapping] | None = None,
        **kwargs: object,
    ) -> CausalLMOutputWithPast:
        """As every transformers causal model; `cache` and `past_key_values` are names of one thing.

        Logits are float32, those of the combined distribution, with the members' mean normaliser.
        `member_inputs` are for one step of generation, as each member that is run prepares its own.
        """
        refuse_internals(kwargs)
        cache = past_key_values if cache is None else cache
        check_cache(cache)
        if member_inputs is None:
            shared = {
                "input_ids": input_ids,
                "attention_mask": attention_mask,
                "position_ids": position_ids,
            }
            caches = [None] * len(self.running) if cache is None else cache.members
            member_inputs = [shared | {CACHE: own} for own in caches]
        options = {"use_cache": use_cache, "logits_to_keep": logits_to_keep}
        outputs = [
            member(**{**own, **options})
            for member, own in zip(self.running, member_inputs, strict=True)
        ]
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        is_token = None
        if attention_mask is not None and attention_mask.ndim == 2:
            # what follows padding on the left may be anything
            is_token = attention_mask[:, -input_ids.shape[1] :][:, kept].bool()
        logits = self._combined([output.logits for output in outputs], is_token)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, self.num_tokens, **kwargs)
        filled = [getattr(output, CACHE) for output in outputs]
        if cache is not None:
            cache.members = filled
        elif None not in filled:
            cache = EnsembleCache(filled)
        return CausalLMOutputWithPast(loss=loss, logits=logits, **{CACHE: cache})

    def _combined(
        self,
        logits: Sequence[Float[Tensor, "batch pos _"]],
        is_token: Bool[Tensor, "batch pos"] | None,
    ) -> Float[Tensor, "batch pos vocab"]:
        own = []
        for each in logits:
            cut = each[..., : self.num_tokens].to(self.device)
            cut = cut.to(torch.promote_types(cut.dtype, torch.float32))
            if len(self.unused):
                cut = cut.index_fill(-1, self.unused, -torch.inf)
            own.append(cut)
        normalisers = torch.stack([each.logsumexp(-1) for each in own])
        numbers = normalisers if is_token is None else normalisers[:, is_token]
        check_numbers(numbers, [self.names[index] for index in self._active])
        return combined_logits(own, normalisers, self._shares, self.combine)

    @torch.no_grad()
    def token_logprobs(
        self, ids: Int[Tensor, "batch pos"], mask: Bool[Tensor, "batch pos"]
    ) -> Float[Tensor, "batch pos"]:
        """Log-probability of each token in nats, given all before it in its right-padded row.

        It is 0.0 for the first token of a row and for padding. No tensor of all positions and the
        whole vocabulary is made.
        """
        scored = scored_tokens(mask)
        if self.combine == MEAN_PROB:
            own = torch.stack(
                [self._own_logprobs(index, ids, mask, scored) for index in self._active]
            )
            return scattered(mixture_logprobs(own, self._shares), scored)
        states = [hidden_before(last_hidden(member, ids), scored) for member in self.running]
        heads = [self._head(index) for index in self._active]
        logprobs = geometric_logprobs(states, heads, ids[scored], self._shares)
        if not logprobs.isfinite().all():
            # the error names the member that is to blame
            self.member_logprobs(ids, mask)
        return scattered(logprobs, scored)

    @torch.no_grad()
    def member_logprobs(
        self, ids: Int[Tensor, "batch pos"], mask: Bool[Tensor, "batch pos"]
    ) -> Float[Tensor, "member batch pos"]:
        """The same for each member by itself, those of weight 0 included."""
        scored = scored_tokens(mask)
        each = [self._own_logprobs(index, ids, mask, scored) for index in range(len(self.members))]
        return torch.stack([scattered(own, scored) for own in each])

    def _own_logprobs(
        self,
        index: int,
        ids: Int[Tensor, "batch pos"],
        mask: Bool[Tensor, "batch pos"],
        scored: Bool[Tensor, "batch pos"],
    ) -> Float[Tensor, " target"]:
        hidden = last_hidden(self.members[index], ids)
        logprobs = scored_logprobs(hidden, ids, scored, self._head(index))
        check_numbers(logprobs[None], [self.names[index]])
        return logprobs

    def _head(self, index: int) -> OutputHead:
        return head_of(self.members[index], self.num_tokens, self.unused)
