"""The student as a checkpoint of transformers has it, which is what vLLM reads."""

import copy
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from alm_lightning.models.adapters import saved_weights
from alm_lightning.models.padding import embedding_names


def checkpoint_weights(
    model: PreTrainedModel, *, num_tokens: int, dtype: torch.dtype
) -> dict[str, Tensor]:
    """The weights of a student under the names of a checkpoint; the student is left as it is.

    Adapters are added in. Rows of the embeddings that no token has are left out, so that they can
    get no probability. A tied matrix is there once.

    Args:
        model: The student.
        num_tokens: Tokens of its tokenizer.
        dtype: Of the weights; those that have it already, and no adapters, are not copied.

    Returns:
        Weights by name.
    """
    tables = embedding_names(model)
    weights = {
        name: tensor[:num_tokens] if name in tables else tensor
        for name, tensor in saved_weights(model, dtype).items()
    }
    # experts that transformers holds in one tensor are apart in a checkpoint
    return revert_weight_conversion(model, weights)


def write_checkpoint(
    model: PreTrainedModel, folder: Path, *, num_tokens: int, dtype: torch.dtype
) -> None:
    """Writes configuration and weights; no tokenizer, since vLLM gets ids and gives ids.

    Args:
        model: The student.
        folder: An empty folder.
        num_tokens: Tokens of its tokenizer, which become the rows of its embeddings.
        dtype: Of the weights.
    """
    config = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__]
    config.dtype = dtype
    config.get_text_config().vocab_size = num_tokens
    config.save_pretrained(folder)
    weights = checkpoint_weights(model, num_tokens=num_tokens, dtype=dtype)
    stored = {name: tensor.contiguous().cpu() for name, tensor in weights.items()}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
