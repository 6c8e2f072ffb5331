"""A student written as a folder that transformers loads without this project."""

import copy
import errno
import json
import logging
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from alm_lightning.models.adapters import saved_weights
from alm_lightning.models.padding import padded_weights
from alm_lightning.tokenization.validation import AWKWARD

log = logging.getLogger(__name__)


def export_folder(
    student: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    path: Path,
    *,
    card: str,
    dtype: torch.dtype,
    stop_ids: Sequence[int] = (),
    num_rows: int | None = None,
) -> Path:
    """Write weights, configuration, tokenizer, code and model card; all of them or nothing.

    A byte student's folder holds its modelling code, and is read with
    ``AutoModelForCausalLM.from_pretrained(path, trust_remote_code=True)``; other students, and
    every tokenizer, need no code. `student` is left as it is.

    Args:
        student: A model; adapters, if it has any, are added to the weights that are written.
        tokenizer: Of the student.
        path: The folder to make. Its parents are made where they lack.
        card: Text of README.md.
        dtype: Of the weights on disk, whatever they were trained in.
        stop_ids: Ids at which generation stops besides the tokenizer's EOS, such as an end of turn.
        num_rows: Rows of the embeddings on disk, of which the last are padding; None for those of
            the student.

    Returns:
        The path.

    Raises:
        FileExistsError: There is something at `path` already.
        OSError: The disk is full, or cannot be written to. Nothing is left behind.
    """
    if path.exists():
        raise FileExistsError(
            f"{path} exists, and an export never writes over anything. Choose another folder, or "
            "move that one away."
        )
    # a sibling, so that the last step is a rename, which cannot stop half-way
    # of a name that no export which was killed has left: numbers of processes come again
    partial = path.with_name(f".{path.name}.partial-{uuid.uuid4().hex}")
    partial.mkdir(parents=True)
    try:
        _write(student, tokenizer, partial, dtype=dtype, stop_ids=stop_ids, num_rows=num_rows)
        card = _with_true_usage(card, partial, tokenizer)
        (partial / "README.md").write_text(card, encoding="utf-8")
        partial.rename(path)
    except BaseException as error:
        shutil.rmtree(partial)
        if _is_full_disk(error):
            raise OSError(
                errno.ENOSPC,
                f"no space left on the disk while writing the export of {path}; nothing was left "
                "behind. Free some space, or choose a folder on another disk",
            ) from error
        raise
    return path


def _write(
    student: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    *,
    dtype: torch.dtype,
    stop_ids: Sequence[int],
    num_rows: int | None,
) -> None:
    """Everything but the card."""
    weights = saved_weights(student, dtype)
    if num_rows is not None:
        weights = padded_weights(student, weights, num_rows)
    config, generation = student.config, student.generation_config
    try:
        # saving writes into both
        student.config = copy.deepcopy(config)
        student.generation_config = copy.deepcopy(generation)
        if num_rows is not None:
            student.config.get_text_config().vocab_size = num_rows
        student.generation_config.bos_token_id = tokenizer.bos_token_id
        student.generation_config.pad_token_id = tokenizer.pad_token_id
        stops = [tokenizer.eos_token_id, *stop_ids]
        student.generation_config.eos_token_id = stops if stop_ids else stops[0]
        student.save_pretrained(folder, state_dict=weights)
        # it has noted the type of the weights in memory
        student.config.dtype = dtype
        for name in student.config.sub_configs:
            getattr(student.config, name).dtype = dtype
        student.config.save_pretrained(folder)
    finally:
        student.config, student.generation_config = config, generation
    tokenizer.save_pretrained(folder)


def _with_true_usage(card: str, folder: Path, tokenizer: PreTrainedTokenizerFast) -> str:
    """The card, which names another way to the tokenizer where AutoTokenizer makes another one.

    For some types of models (Qwen 2, Phi 3 and others) transformers 5 puts the cuts and the
    normaliser of the type's own tokenizer in, whatever the folder's tokenizer.json says.
    """
    texts = list(AWKWARD.values())
    try:
        read = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)(texts)["input_ids"]
    except Exception as error:  # a class of another family may fail in any way; the export is whole
        log.warning("AutoTokenizer can't read the folder: %s", error)
        read = None
    if read == tokenizer(texts)["input_ids"]:
        return card
    log.warning(
        "AutoTokenizer does not read the tokenizer that was written to this folder, since "
        "transformers has one of its own for models of type %s. Load it with "
        "PreTrainedTokenizerFast.from_pretrained; the model card says so too.",
        json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"],
    )
    note = (
        "**Not with `AutoTokenizer`:** for this type of model it does not make this tokenizer out "
        "of the files; the ids would be wrong.\n\n"
    )
    plain = card.replace("AutoTokenizer", "PreTrainedTokenizerFast")
    return plain.replace("## Usage\n\n", f"## Usage\n\n{note}")


def _is_full_disk(error: BaseException) -> bool:
    """Whether the disk (or a quota) ran full; safetensors says so only in its message."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, SafetensorError) and "No space left" in str(error)
