"""What to do where a run has too little memory: the settings that help, with numbers."""

import re
from collections.abc import Iterator

import torch
from omegaconf import DictConfig

PROCESSOR = re.compile(r"(DefaultCPUAllocator: .*? bytes)")
"""What torch says where the machine's own memory is too small: a plain RuntimeError."""
SHORTEST = 64
"""Tokens below which shorter sequences are not advised."""


def lack_of_memory(error: BaseException) -> str | None:
    """What was lacking, in torch's words.

    Args:
        error: Any error.

    Returns:
        None for an error that is not of memory.
    """
    if isinstance(error, torch.OutOfMemoryError):
        return str(error).partition(". ")[0]
    if isinstance(error, MemoryError):
        return str(error) or "no memory for Python's objects"
    found = PROCESSOR.search(str(error)) if isinstance(error, RuntimeError) else None
    return None if found is None else found[1]


def memory_sentence(lack: str, cfg: DictConfig | None) -> str:
    """The sentence that is shown.

    Args:
        lack: From `lack_of_memory`.
        cfg: The configuration of the program, if there is one.

    Returns:
        What was lacking, and what to change.
    """
    found = list(_advice(cfg)) if cfg is not None and "budget" in cfg else []
    if not found:
        return f"there is too little memory ({lack}). Take smaller batches or shorter texts."
    items = "".join(f"\n  {line}" for line in found)
    return f"there is too little memory for this run ({lack}). Any of these helps:{items}"


def _advice(cfg: DictConfig) -> Iterator[str]:
    """Settings that take less, the cheapest first."""
    budget = cfg.budget
    rows = budget.micro_batch_size
    if isinstance(rows, int) and rows > 1:
        yield (
            f"budget.micro_batch_size={rows // 2} in place of {rows}: a step stays the same, in "
            "more parts"
        )
    if not cfg.speed.checkpointing:
        yield (
            "speed.checkpointing=true: of the activations only what lies between blocks is held, "
            "for a third more arithmetic"
        )
    full = str(cfg.adapter._target_).endswith("FullFineTuning")
    if full and str(cfg.optimizer._target_).endswith("AdamW"):
        yield (
            "optimizer=adamw_8bit: moments of 2 bytes a trained weight in place of 8, by torchao "
            "(pip install 'alm-lightning[gpu]')"
        )
    # a byte model learns too much anew for adapters
    if full and not str(cfg.embeddings._target_).endswith("BytesFromOldTokens"):
        yield (
            "adapter=lora: weights, gradients and moments of the blocks take 16 bytes a weight "
            "where all are trained, and 2 to 4 where they are frozen"
        )
    lengths = {name: budget[name] for name in ("student_length", "teacher_length")}
    if min(lengths.values()) >= 2 * SHORTEST:
        shorter = " ".join(f"budget.{name}={length // 2}" for name, length in lengths.items())
        given = " and ".join(map(str, lengths.values()))
        yield f"{shorter} in place of {given}: shorter texts, which changes what is learned"
