"""The text part of a model that reads images too, as a separate model."""

import logging

import torch
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedModel

log = logging.getLogger(__name__)


def text_part(model: PreTrainedModel) -> PreTrainedModel:
    """Removes from a model what reads images or sound, if it has such a part.

    A new vocabulary has no place for the tokens that stand for images, and transformers does not
    train such a model on rows without information on which tokens are images. The text part
    computes the same logits on text, and is a plain model of its family, as it is exported. It is
    made of the same modules; nothing is copied. Any other model is returned as it is. A ValueError
    says that transformers has no plain model for the text part.
    """
    parts = set(getattr(type(model.config), "sub_configs", ()))
    if not ("text_config" in parts and len(parts) > 1):
        return model
    config = model.config.get_text_config()
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    plain_class = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    if plain_class is None:
        raise ValueError(_unknown(model, f"for {type(config).__name__}"))
    # on no device: every module of it is about to be replaced
    with torch.device("meta"):
        plain = plain_class(config)
    if type(plain.base_model) is not type(decoder):
        raise ValueError(_unknown(model, f"around {type(decoder).__name__}"))
    setattr(plain, plain.base_model_prefix, decoder)
    plain.set_output_embeddings(head)
    plain.generation_config = model.generation_config
    log.info(
        "%s reads more than text: of its %s parameters only those of its text part, a %s with %s, "
        "are taken",
        type(model).__name__,
        f"{model.num_parameters():,}",
        plain_class.__name__,
        f"{plain.num_parameters():,}",
    )
    return plain.train(model.training)


def _unknown(model: PreTrainedModel, what: str) -> str:
    return (
        f"{type(model).__name__} reads more than text, and transformers has no causal language "
        f"model {what} to take for its text part. Choose a checkpoint that reads text alone."
    )
