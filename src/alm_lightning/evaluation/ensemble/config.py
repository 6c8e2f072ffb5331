"""The configuration of an ensemble: what programs read from that of a causal language model."""

from collections.abc import Sequence
from typing import no_type_check

from transformers import PreTrainedConfig, PreTrainedModel


# any config takes arguments beyond its fields, which run-time type checkers of dataclasses refuse
@no_type_check
class EnsembleConfig(PreTrainedConfig):
    """Sizes and special ids of an ensemble. No folder has one: an ensemble is not saved."""

    model_type = "alm_ensemble"

    @classmethod
    def of(cls, models: Sequence[PreTrainedModel], num_tokens: int) -> "EnsembleConfig":
        """The configuration of members together.

        Special ids are those of the first member. The context is the shortest of all; there is no
        context length where no member has one.
        """
        configs = [model.config.get_text_config() for model in models]
        config = cls(
            bos_token_id=configs[0].bos_token_id,
            eos_token_id=configs[0].eos_token_id,
            pad_token_id=configs[0].pad_token_id,
            tie_word_embeddings=False,
            vocab_size=num_tokens,
        )
        # families of state-space models have no such key
        lengths = [getattr(own, "max_position_embeddings", None) for own in configs]
        known = [length for length in lengths if length is not None]
        if known:
            config.max_position_embeddings = min(known)
        return config


def checked_size(models: Sequence[PreTrainedModel], num_tokens: int | None) -> int:
    """The number of output rows that members are combined over.

    That is `num_tokens`, or, if None, the rows of the smallest output matrix. A ValueError says
    that a member has fewer rows than there are tokens.
    """
    smallest = min(len(model.get_output_embeddings().weight) for model in models)
    num_tokens = smallest if num_tokens is None else num_tokens
    if not 0 < num_tokens <= smallest:
        raise ValueError(
            f"num_tokens is {num_tokens:,}, but the smallest output matrix of the members has "
            f"{smallest:,} rows. Give the size of the tokenizer that all of them share."
        )
    return num_tokens
