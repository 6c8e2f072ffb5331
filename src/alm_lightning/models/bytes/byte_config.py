"""The configuration of a byte-level model, whatever its body.

This file travels with every exported byte student and is run there: torch and transformers are all
that it may import, and the files beside it that do likewise.
"""

import copy
from typing import ClassVar, no_type_check

from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

SOFT_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
"""Names of the soft cap on the logits: of Gemma 2 and most others, of RecurrentGemma, of xLSTM."""


def soft_cap_of(config: PreTrainedConfig) -> float | None:
    """The soft cap on the logits of a family that has one.

    Args:
        config: Of a language model alone.

    Returns:
        The cap; None where there is none.
    """
    # families have their own name of it, and most have none
    return next((cap for cap in (getattr(config, key, None) for key in SOFT_CAPS) if cap), None)


# any config takes arguments beyond its fields, which run-time type checkers of dataclasses refuse
@no_type_check
class ByteLMConfig(PreTrainedConfig):
    """Configuration of a byte-level model.

    Args:
        body_config: Configuration of the decoder between embeddings and head (a dict with
            `model_type`, or a config). A copy is kept, with this model's vocabulary.
        vocab_size: 256 bytes and the special tokens.
        expansion_rows: Rows of the former vocabulary's embedding matrix; 0 for no expansion.
        expansion_nodes: Nodes of the trie of former tokens, the root included.
        expansion_depth: Bytes of the longest former token.
    """

    model_type = "alm_byte_lm"
    sub_configs_defaults: ClassVar[dict] = {
        "body_config": SubConfigSpec(config_class=AutoConfig, model_type="llama")
    }

    body_config: dict | PreTrainedConfig | None = None
    vocab_size: int = 259
    bos_token_id: int | None = 256
    eos_token_id: int | list[int] | None = 257
    pad_token_id: int | None = 258
    expansion_rows: int = 0
    expansion_nodes: int = 1
    expansion_depth: int = 0
    tie_word_embeddings: bool = False
    use_cache: bool = True

    def __post_init__(self, **kwargs: object) -> None:
        """Give the body this model's vocabulary."""
        # the caller's own config must not change with ours
        self.body_config = copy.deepcopy(self.body_config)
        super().__post_init__(**kwargs)
        body = self.body_config
        body.vocab_size = self.vocab_size
        body.bos_token_id, body.eos_token_id = self.bos_token_id, self.eos_token_id
        # also the padding_idx of the embedding: were it 0, byte 0x00 would never be trained
        is_only_padding = self.pad_token_id not in (self.bos_token_id, self.eos_token_id)
        body.pad_token_id = self.pad_token_id if is_only_padding else None
        body.tie_word_embeddings = False

    def get_text_config(
        self, decoder: bool | None = None, encoder: bool | None = None
    ) -> PreTrainedConfig:
        """The body's config: what generation builds caches and sliding windows from."""
        return self.body_config

    @property
    def hidden_size(self) -> int:
        """Width of the body."""
        return self.body_config.hidden_size

    @property
    def num_hidden_layers(self) -> int:
        """Depth of the body."""
        return self.body_config.num_hidden_layers

    @property
    def num_attention_heads(self) -> int:
        """Attention heads of a layer of the body."""
        return self.body_config.num_attention_heads

    @property
    def max_position_embeddings(self) -> int:
        """Longest sequence of the body, in bytes now."""
        return self.body_config.max_position_embeddings

    @property
    def final_logit_softcapping(self) -> float | None:
        """Soft cap on the logits, for the families that have one, whatever they call it."""
        return soft_cap_of(self.body_config)


ByteLMConfig.register_for_auto_class()
