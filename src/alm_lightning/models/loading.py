"""A model and a tokenizer from their source, and whether the two fit together."""

import logging
from pathlib import Path

import torch
from huggingface_hub.errors import GatedRepoError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from alm_lightning.likelihood.hardware import multiplies_bfloat16
from alm_lightning.models.bytes.byte_config import ByteLMConfig
from alm_lightning.models.bytes.byte_lm import ByteForCausalLM
from alm_lightning.models.text_part import text_part
from alm_lightning.models.weights.sources import Location, WeightSource
from alm_lightning.tokenization.fast import view_of
from alm_lightning.tokenization.files.pretrained import load_fast
from alm_lightning.tokenization.view import TokenizerView

log = logging.getLogger(__name__)

# an exported byte student loads here by the project's own class, not by the copy in its folder
AutoConfig.register(ByteLMConfig.model_type, ByteLMConfig)
AutoModelForCausalLM.register(ByteLMConfig, ByteForCausalLM)


def load_model(
    source: WeightSource, *, name: str, dtype: torch.dtype, attn_implementation: str | None
) -> tuple[PreTrainedModel, TokenizerView]:
    """A causal language model with its tokenizer, on the CPU and in eval mode.

    Raises the errors of `load_view`, `load_causal_lm` and `check_pair`, which call both `name`.
    """
    view = load_view(source, name=name)
    model = load_causal_lm(source, dtype=dtype, attn_implementation=attn_implementation)
    check_pair(model, view.num_tokens, name)
    return model, view


def load_view(source: WeightSource, *, name: str) -> TokenizerView:
    """The tokenizer of a model, under the name that errors call it; no weights are read."""
    return view_of(load_hf_tokenizer(source), name=name)


def load_causal_lm(
    source: WeightSource, *, dtype: torch.dtype, attn_implementation: str | None
) -> PreTrainedModel:
    """A causal language model on the CPU and in eval mode, with all parameters of type `dtype`.

    Of a checkpoint that reads images too, the text part alone. `attn_implementation` is ``eager``
    or ``sdpa``; None for the default of transformers. An OSError says that the source cannot be
    reached or has no such model, a ValueError that the checkpoint is damaged, or lacks weights of
    the model.
    """
    location = source.resolve()
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            location.path,
            revision=location.revision,
            dtype=dtype,
            attn_implementation=attn_implementation,
            output_loading_info=True,
            trust_remote_code=False,
        )
    except OSError as error:
        raise OSError(_explained("the model", source, location, error)) from error
    except ValueError as error:
        if "Unrecognized configuration class" not in str(error):
            raise
        config = AutoConfig.from_pretrained(location.path, revision=location.revision)
        raise ValueError(
            f"{source.describe()} holds a model of type {config.model_type}, which is not a "
            "causal language model. Choose one that generates text from left to right."
        ) from error
    except SafetensorError as error:
        raise ValueError(
            f"The weights of {source.describe()} can't be read: {error}. A file is damaged, or was "
            "not fetched as a whole (one of a few lines is a pointer of Git LFS: `git lfs pull`). "
            "Fetch them again."
        ) from error
    if report["missing_keys"]:
        # transformers fills them with random numbers, and only logs it
        names = sorted(report["missing_keys"])
        raise ValueError(
            f"The checkpoint of {source.describe()} lacks {len(names)} weights of "
            f"{type(model).__name__}: {', '.join(names[:5])}{', …' if len(names) > 5 else ''}. "
            "Choose a checkpoint of a causal language model."
        )
    _check_causal(model, source)
    model = text_part(model)
    log.info("Model: %s, %s, %s", source.describe(), type(model).__name__, dtype)
    return model.eval()


def _check_causal(model: PreTrainedModel, source: WeightSource) -> None:
    """Refuses encoders: as a causal model is asked for, transformers makes one and only warns."""
    config = model.config
    reads_both_ways = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if reads_both_ways and not getattr(config, "is_decoder", False):
        raise ValueError(
            f"{source.describe()} holds a model of type {config.model_type}, which reads its text "
            "in both directions. Choose a causal language model, which generates text from left to "
            "right."
        )


def load_hf_tokenizer(source: WeightSource) -> PreTrainedTokenizerFast:
    """The tokenizer that belongs to a model, in its fast form (``tokenizer.json``).

    It may add tokens of its own (BOS) when it encodes. An OSError says that the source cannot be
    reached or has no tokenizer, a ValueError that there is no fast form of it.
    """
    location = source.resolve()
    try:
        return load_fast(location.path, revision=location.revision)
    except ValueError as error:
        if isinstance(error.__cause__, OSError):
            raise OSError(
                _explained("the tokenizer", source, location, error.__cause__)
            ) from error.__cause__
        raise ValueError(f"The tokenizer of {source.describe()}: {error}") from error


def check_pair(model: PreTrainedModel, tokenizer_size: int, name: str) -> None:
    """Refuses a tokenizer with more ids than the model has embedding rows.

    Fewer are common: models pad their matrices to round numbers. The error calls both `name`.
    """
    num_rows = model.get_input_embeddings().weight.shape[0]
    if tokenizer_size > num_rows:
        raise ValueError(
            f"The tokenizer of {name} has {tokenizer_size:,} entries, but its model has only "
            f"{num_rows:,} embedding rows. Load both from one source and revision, or give the "
            "model an embedding for each new token."
        )


def _explained(what: str, source: WeightSource, location: Location, error: OSError) -> str:
    lines = [f"Could not load {what} from {source.describe()}: {error}"]
    if isinstance(error.__cause__, GatedRepoError):
        lines.append(
            f"Its owner asks for consent: accept the licence at https://huggingface.co/"
            f"{location.path}, then log in with `hf auth login`."
        )
    elif Path(location.path).is_dir():
        lines.append("Its files are damaged, or not of a model: fetch or write them again.")
    else:
        lines.append(
            "Check the name, the revision and the network; a private or gated model needs `hf auth "
            "login`."
        )
    lines += [f"Or prepare what would have come first. {place}." for place in location.passed_over]
    return "\n".join(lines)


def torch_dtype(name: str, device: str = "auto") -> torch.dtype:
    """A floating-point type of torch by its name.

    Args:
        name: Such as ``bfloat16``; ``auto`` is that where the device multiplies it, or float32.
        device: Where it is to be used, for ``auto``: ``cpu``, or an accelerator; ``auto`` is an
            accelerator where there is one.

    Returns:
        The type.

    Raises:
        ValueError: If torch has no floating-point type of that name.
    """
    if name == "auto":
        return torch.bfloat16 if multiplies_bfloat16(device) else torch.float32
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(f"dtype is {name!r}: expected a floating-point type, as float32, or auto.")
    return dtype
