"""A student of the same architecture as the model that it starts as, over another vocabulary.

Only embeddings and output head are new. The rest is copied, or the very parameters of the old model
are taken, so that both models together hold them once.
"""

import copy
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel

from alm_lightning.models.generation import usable
from alm_lightning.models.structure import UNSUPPORTED_HEADS, refuse_byte_model, uninitialised

FORMER_IDS = (
    "bad_words_ids",
    "begin_suppress_tokens",
    "decoder_start_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "sequence_bias",
    "suppress_tokens",
)
"""Settings of generation that name ids of the old vocabulary."""


def transferred(
    model: PreTrainedModel,
    *,
    input_rows: Float[Tensor, "vocab width"],
    head_rows: Float[Tensor, "vocab hidden"] | None,
    head_bias: Float[Tensor, " vocab"] | None,
    roles: Mapping[str, int],
    content_ids: frozenset[int],
    dtype: torch.dtype,
    share_body: bool,
) -> PreTrainedModel:
    """A model of the class of `model` with these embeddings.

    Args:
        model: The old model; left as it is, but that the parameters of a shared body are frozen.
        input_rows: The new input embeddings.
        head_rows: The new output matrix; None where it is tied to the input.
        head_bias: The new output bias; None where there is none.
        roles: Ids of ``bos``, ``eos`` and ``pad`` in the new vocabulary, those that it has.
        content_ids: Ids of the new vocabulary that stand for text.
        dtype: Of the new embeddings, and of a body that is copied.
        share_body: Whether all other parameters are those of `model` itself, as loaded, in place of
            copies. What is then done to one model's body is done to the other's.

    Returns:
        The student in training mode, on the old model's device.

    Raises:
        ValueError: If the model is not a plain causal language model.
    """
    check_transferable(model)
    student = uninitialised(
        type(model),
        _new_config(model, len(input_rows), roles, content_ids),
        dtype,
    )
    ours = {
        "input": nn.Parameter(input_rows.to(dtype)),
        "head": None if head_rows is None else nn.Parameter(head_rows.to(dtype)),
        "bias": None if head_bias is None else nn.Parameter(head_bias.to(dtype)),
    }
    replaced = {id(model.get_input_embeddings().weight): ours["input"]}
    head = model.get_output_embeddings()
    # a tied head has the input's parameter, and so it has in the student
    replaced.setdefault(id(head.weight), ours["head"])
    if head.bias is not None:
        replaced[id(head.bias)] = ours["bias"]

    weights: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        # the old matrices are not copied even in passing: they are the largest
        if id(parameter) not in replaced:
            kept = (
                parameter if share_body else nn.Parameter(parameter.detach().to(dtype, copy=True))
            )
            replaced[id(parameter)] = kept
        weights[name] = replaced[id(parameter)]
    for name, tensor in model.state_dict().items():
        if name not in weights:
            weights[name] = tensor.clone()
    if difference := student.state_dict().keys() ^ weights.keys():
        raise ValueError(
            f"{type(model).__name__} builds other weights from its config than the loaded model "
            f"has: {', '.join(sorted(difference)[:5])} lie on one side only. Choose a checkpoint "
            "without adapters or other additions."
        )
    # puts the parameters themselves in place; those of a shared body are the old model's from here
    student.load_state_dict(weights, assign=True)
    trained = {id(parameter) for parameter in ours.values()}
    if share_body:
        for parameter in student.parameters():
            parameter.requires_grad_(id(parameter) in trained)
    student.generation_config = _new_generation(model, roles)
    return student.to(model.device).train()


def check_transferable(model: PreTrainedModel) -> None:
    """Refuses models with more that depends on the vocabulary than input and output matrix.

    That are models with parts besides a language model, with scaled logits, or with embeddings at
    every layer.
    """
    refuse_byte_model(model)
    name, config = type(model).__name__, model.config
    if config.get_text_config() is not config:
        raise ValueError(
            f"{name} has parts besides a language model. Choose a checkpoint of a causal language "
            "model alone."
        )
    scaled = [key for key in UNSUPPORTED_HEADS if getattr(config, key, None) not in (None, 1, 1.0)]
    if scaled:
        raise ValueError(
            f"{name} scales its logits ({', '.join(scaled)}), which is not supported yet. Choose a "
            "family without."
        )
    # Gemma 3n and 4 have embeddings of every token at every layer
    if getattr(config, "vocab_size_per_layer_input", None):
        raise ValueError(
            f"{name} has embeddings of its tokens at every layer, which can't be replaced. Choose "
            "a family with one matrix of input embeddings."
        )
    matrices = (model.get_input_embeddings(), model.get_output_embeddings())
    wrong = [
        type(m).__name__
        for m, kind in zip(matrices, (nn.Embedding, nn.Linear), strict=True)
        if not isinstance(m, kind)
    ]
    if wrong:
        raise ValueError(
            f"{name} has a {wrong[0]} where an embedding, or a linear output head, was expected. "
            "Choose a causal language model with one row a token on both sides."
        )


def is_tied(model: PreTrainedModel) -> bool:
    """Whether the output matrix is the input embeddings themselves."""
    return model.get_output_embeddings().weight is model.get_input_embeddings().weight


def _new_config(
    model: PreTrainedModel, vocab_size: int, roles: Mapping[str, int], content_ids: frozenset[int]
) -> PreTrainedConfig:
    config = copy.deepcopy(model.config)
    config.vocab_size = vocab_size
    # a checkpoint with two matrices may say that they are one; what is exported goes by this
    config.tie_word_embeddings = is_tied(model)
    # such as unk_token_id: nothing here knows its counterpart, and the tokenizer says it
    for key in [name for name in vars(config) if name.endswith("_token_id")]:
        setattr(config, key, None)
    config.bos_token_id, config.eos_token_id = roles.get("bos"), roles.get("eos")
    # also the padding_idx of the embedding, whose row would never be trained
    used = {roles.get("bos"), roles.get("eos"), *content_ids}
    config.pad_token_id = roles.get("pad") if roles.get("pad") not in used else None
    return config


def _new_generation(model: PreTrainedModel, roles: Mapping[str, int]) -> GenerationConfig:
    generation = usable(model.generation_config)
    for role in ("bos", "eos", "pad"):
        setattr(generation, f"{role}_token_id", roles.get(role))
    for key in FORMER_IDS:
        if getattr(generation, key, None) is not None:
            setattr(generation, key, None)
    return generation
