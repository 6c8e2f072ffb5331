"""A byte-level causal language model: any decoder body, byte embeddings and head.

This file travels with every exported byte student and is run there, so that
``AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)`` needs no other package:
torch and transformers are all that it may import, and the files beside it that do likewise.

Ids 0 to 255 are the bytes; special tokens follow from 256. The embedding of a byte is its own row
plus the row of the longest token of the former vocabulary that ends at it.
"""

from dataclasses import fields

import torch
from torch import nn
from transformers import AutoModel, GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.utils import can_return_tuple

from .byte_config import ByteLMConfig
from .byte_expansion import InputExpansion, hide_padding, reach_of

# transformers 5.24 renamed the cache argument of every model from past_key_values to cache
CACHE = (
    "cache" if "cache" in {f.name for f in fields(BaseModelOutputWithPast)} else "past_key_values"
)


class ByteLMPreTrainedModel(PreTrainedModel):
    """What both models share: the config class, and which of the body's abilities pass through."""

    config_class = ByteLMConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _skip_keys_device_placement = ("past_key_values", "cache")


class ByteModel(ByteLMPreTrainedModel):
    """Bytes to hidden states."""

    def __init__(self, config: ByteLMConfig):
        """Random weights in torch's default dtype, on its default device (meta, too)."""
        super().__init__(config)
        # like every other weight of this model, not like the checkpoint that the config came from
        self.body = AutoModel.from_config(config.body_config, dtype=torch.get_default_dtype())
        embedding = self.body.get_input_embeddings()
        self.expansion = InputExpansion(config, embedding) if config.expansion_rows else None
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, InputExpansion):
            init.constant_(module.edge_keys, torch.iinfo(torch.int64).max)
            init.constant_(module.token_of_node, -1)
        else:
            # only the body's family knows how its kind of embedding begins
            self.body._init_weights(module)

    def get_input_embeddings(self) -> nn.Module:
        """The byte embeddings."""
        return self.body.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the byte embeddings."""
        self.body.set_input_embeddings(value)

    def embed(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | dict | None = None,
        history: torch.Tensor | None = None,
        reach: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """What enters the first layer, [batch, pos, hidden]: byte and former token, both scaled."""
        embedded = self.get_input_embeddings()(input_ids)
        if self.expansion is None:
            return embedded
        visible = hide_padding(input_ids, attention_mask)
        return embedded + self.expansion(visible, history, embedded.dtype, reach)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | dict | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        cache: Cache | None = None,
        byte_history: torch.Tensor | None = None,
        **kwargs: object,
    ) -> BaseModelOutputWithPast:
        """As every transformers decoder; `cache` and `past_key_values` are two names of one thing.

        `byte_history` holds the ids just before `input_ids` [batch, any length]. It is needed only
        with a cache that this model has not filled itself: otherwise the cache remembers them.
        Without mask and cache, `position_ids` that start again part the texts of a packed row.
        """
        cache = past_key_values if cache is None else cache
        known = None
        if inputs_embeds is None:
            history = self._history(cache, byte_history, len(input_ids))
            # as transformers tells packed rows, from the same three arguments
            is_packed = position_ids is not None and attention_mask is None and cache is None
            reach = reach_of(position_ids) if is_packed else None
            inputs_embeds = self.embed(input_ids, attention_mask, history, reach)
            known = torch.cat([history, hide_padding(input_ids, attention_mask)], dim=1)
        output = self.body(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=self.config.use_cache if use_cache is None else use_cache,
            **{CACHE: cache},
            **kwargs,
        )
        filled = getattr(output, CACHE)
        if filled is not None:
            filled.byte_history = known
            filled.byte_history_end = int(filled.get_seq_length())
        return output

    def _history(
        self, cache: Cache | None, given: torch.Tensor | None, batch_size: int
    ) -> torch.Tensor:
        """The ids behind a cache, as given or as it remembers them; none at the start of a text."""
        length = 0 if cache is None else int(cache.get_seq_length())
        known = given
        if given is None and length > 0:
            known = getattr(cache, "byte_history", None)
            if known is not None:
                # cropped since: the last ids are forgotten. Grown since: by ids that we never saw
                kept = known.shape[1] - (cache.byte_history_end - length)
                known = known[:, : max(kept, 0)] if length <= cache.byte_history_end else None
        if known is None:
            known = torch.zeros(batch_size, 0, dtype=torch.int64, device=self.device)
        needed = 0 if self.expansion is None else min(length, self.expansion.depth - 1)
        if len(known) != batch_size or known.shape[1] < needed:
            raise ValueError(
                f"a cache of {length} positions was given, and {known.shape[1]} bytes before these "
                f"are known in {len(known)} rows; input expansion needs the last {needed} in "
                f"{batch_size} rows. Pass byte_history=[batch, bytes], or let this model fill the "
                "cache from ids."
            )
        return known


class ByteForCausalLM(ByteLMPreTrainedModel, GenerationMixin):
    """Bytes to next-byte logits. Output rows are not tied to the input's."""

    def __init__(self, config: ByteLMConfig):
        """Random weights in torch's default dtype, on its default device (meta, too)."""
        super().__init__(config)
        self.model = ByteModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_decoder(self) -> ByteModel:
        """The model below the head."""
        return self.model

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | dict | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        cache: Cache | None = None,
        byte_history: torch.Tensor | None = None,
        **kwargs: object,
    ) -> CausalLMOutputWithPast:
        """As every transformers causal model; see `ByteModel.forward` for `byte_history`."""
        output = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            cache=cache,
            byte_history=byte_history,
            **kwargs,
        )
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(output.last_hidden_state[:, keep, :])
        softcap = self.config.final_logit_softcapping
        if softcap is not None:
            logits = torch.tanh(logits / softcap) * softcap
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, self.config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            hidden_states=output.hidden_states,
            attentions=output.attentions,
            **{CACHE: getattr(output, CACHE)},
        )

    def prepare_inputs_for_generation(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | dict | None = None,
        **kwargs: object,
    ) -> dict:
        """The inputs of one step, with the bytes before them.

        Taken from the whole sequence each time, so beam search may reorder its rows at will.
        """
        inputs = super().prepare_inputs_for_generation(
            input_ids, attention_mask=attention_mask, **kwargs
        )
        step = inputs.get("input_ids")
        if step is not None:
            before = hide_padding(input_ids, attention_mask)[:, : -step.shape[1]]
            cache = inputs.get(CACHE)
            # shorter: `input_ids` is only a piece of the sequence, and the cache knows the rest
            if before.shape[1] >= (0 if cache is None else cache.get_seq_length()):
                inputs["byte_history"] = before[:, -self.config.expansion_depth :]
        return inputs


ByteModel.register_for_auto_class("AutoModel")
ByteForCausalLM.register_for_auto_class("AutoModelForCausalLM")
