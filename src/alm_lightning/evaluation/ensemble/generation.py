"""Generation by an ensemble: how transformers' `generate` handles its members."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Int
from torch import Tensor
from transformers import GenerationConfig, GenerationMixin

from alm_lightning.evaluation.ensemble.cache import EnsembleCache, check_cache
from alm_lightning.models.bytes.byte_lm import CACHE


class EnsembleGeneration(GenerationMixin):
    """`generate` for a model with `running` members, each of which has a cache of its own."""

    def prepare_inputs_for_generation(
        self, input_ids: Int[Tensor, "batch pos"], **kwargs: object
    ) -> dict[str, Any]:
        """The inputs of one step, and those that each member makes of them.

        A member may want more than ids: a byte student the bytes before them, whose rows beam
        search reorders.
        """
        inputs = super().prepare_inputs_for_generation(input_ids, **kwargs)
        cache = kwargs.get(CACHE)
        caches = [None] * len(self.running) if cache is None else cache.members
        inputs["member_inputs"] = [
            member.prepare_inputs_for_generation(input_ids, **{**kwargs, CACHE: own})
            for member, own in zip(self.running, caches, strict=True)
        ]
        return inputs

    def _prepare_cache_for_generation(
        self,
        generation_config: GenerationConfig,
        model_kwargs: dict[str, Any],
        *args: object,
        **kwargs: object,
    ) -> None:
        """Puts a cache of all members where transformers would put that of one model."""
        cache = model_kwargs.get(CACHE)
        check_cache(cache)
        if cache is not None:
            cache._is_user_defined = True
            return
        if generation_config.use_cache is False:
            return
        if generation_config.cache_implementation not in (None, "dynamic"):
            raise ValueError(
                f"cache_implementation is {generation_config.cache_implementation!r}: an ensemble "
                "has one cache a member, and only dynamic ones. Leave it out."
            )
        model_kwargs[CACHE] = EnsembleCache.empty(self.running)


def refuse_internals(kwargs: Mapping[str, object]) -> None:
    """Refuses arguments of a forward pass about hidden states, attentions or embeddings."""
    wanted = ("inputs_embeds", "output_hidden_states", "output_attentions")
    refused = [
        name for name in wanted if kwargs.get(name) is not None and kwargs[name] is not False
    ]
    if refused:
        raise ValueError(
            f"an ensemble has no {' and no '.join(refused)}: its members have hidden states of "
            "different shapes. Ask one of its `members`."
        )
