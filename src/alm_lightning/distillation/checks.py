"""Settings of a run that are checked by value, before anything is read."""

import logging
import math
import os
from collections.abc import Mapping
from numbers import Integral, Real

import torch
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy, Strategy

from alm_lightning.likelihood.hardware import multiplies_bfloat16, uses_cuda
from alm_lightning.training.sharding import ShardedStrategy

log = logging.getLogger(__name__)

WORKERS = 4
"""Processes that prepare batches for each GPU."""
PRECISIONS = ("auto", "bf16-mixed", "32-true", "32")
"""Of Lightning's names. Its others cast whole models and batches."""
STRATEGIES = (
    "auto",
    "ddp",
    "ddp_find_unused_parameters_true",
    "ddp_find_unused_parameters_false",
    "single_device",
    "DDPStrategy",
    "SingleDeviceStrategy",
    "ShardedStrategy",
)
"""Names and classes. Others split models in ways of their own, or start processes late."""
STRATEGY_CLASSES = (DDPStrategy, SingleDeviceStrategy, ShardedStrategy)
"""Of objects; a class that is made from one of them, as DeepSpeed's, is another one."""
AT_LEAST = {
    "seed": 0,
    "num_workers": 0,
    "sample_prompts": 0,
    "sample_bytes": 1,
    "steps": 0,
    "batch_size": 1,
    "micro_batch_size": 1,
    "student_length": 1,
    "teacher_length": 1,
    "evaluation_windows": 1,
    "validate_every": 1,
    "checkpoint_every": 0,
}
"""Whole numbers, and the least that each may be."""
ABOVE_ZERO = {"learning_rate": 3e-4, "gradient_clip": 1.0}
"""Numbers above 0, and one for example."""
MAY_BE_AUTO = ("micro_batch_size", "num_workers")
MAY_BE_NONE = ("validate_every", "checkpoint_every", "gradient_clip")


def check_numbers(values: Mapping[str, object]) -> None:
    """Refuses settings that are not numbers, or too small.

    Args:
        values: Settings by name; those that are in no table here are not checked.

    Raises:
        ValueError: A setting is not what is expected of it.
    """
    for name, value in values.items():
        if value is None and name in MAY_BE_NONE:
            continue
        if value == "auto" and name in MAY_BE_AUTO:
            continue
        if name in AT_LEAST:
            least = AT_LEAST[name]
            # Python takes True for 1
            if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
                other = ", or auto" if name in MAY_BE_AUTO else ""
                raise ValueError(
                    f"{name} is {value!r}: expected a whole number of at least {least}{other}."
                )
        if name in ABOVE_ZERO and not _is_above_zero(value):
            raise ValueError(
                f"{name} is {value!r}: expected a number above 0, such as {ABOVE_ZERO[name]}."
            )


def _is_above_zero(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    return 0 < float(value) < math.inf


def check_trainer(precision: object, strategy: object) -> None:
    """Refuses what Lightning's trainer can do, and a distillation can't.

    Args:
        precision: Lightning's name of it, or ``auto``.
        strategy: Lightning's name, or that of a class; or an object.

    Raises:
        ValueError: Whole models would be cast, or split in another way, or gradients scaled.
    """
    # 16 is Lightning's other name of it
    if str(precision) in ("16-mixed", "16"):
        raise ValueError(
            f"precision is {precision}, whose gradients are scaled up, so that gradient_clip would "
            "cut them at a wrong norm. Take bf16-mixed or 32-true."
        )
    if str(precision) not in PRECISIONS:
        raise ValueError(
            f"precision is {precision}: expected one of {', '.join(PRECISIONS)}. What is trained "
            "is held in float32, since bfloat16 would round small updates away; for less memory "
            "take adapter=lora, or dtype=bfloat16 for the frozen weights."
        )
    is_object = isinstance(strategy, Strategy)
    if not (type(strategy) in STRATEGY_CLASSES if is_object else strategy in STRATEGIES):
        name = type(strategy).__name__ if is_object else strategy
        raise ValueError(
            f"strategy is {name}: expected one of {', '.join(STRATEGIES)}. Others do not know "
            "that terms are weighed by gradients of whole matrices, and that both models may hold "
            "the same weights. To spread weights over several GPUs take trainer=fsdp; for less "
            "memory on one, adapter=lora and a smaller micro_batch_size."
        )


def check_validation(limit: object) -> None:
    """Refuses a trainer that evaluates nothing: the figures of a run are those before and after.

    Args:
        limit: The trainer's ``limit_val_batches``; None for its default.

    Raises:
        ValueError: It is 0.
    """
    if limit is not None and limit == 0:
        raise ValueError(
            f"the trainer's limit_val_batches is {limit}, and the figures of a run are those of "
            "its evaluation sets before and after. Leave limit_val_batches out: evaluation_windows "
            "says how many sequences are evaluated, validate_every how often between the two."
        )


def check_accelerator(accelerator: object) -> None:
    """Refuses a GPU that is not here, before anything is loaded.

    Args:
        accelerator: Lightning's name.

    Raises:
        ValueError: torch sees no such device.
    """
    is_elsewhere = accelerator == "gpu" and torch.backends.mps.is_available()
    if accelerator not in ("gpu", "cuda") or is_elsewhere or torch.cuda.is_available():
        return
    build = "a build for CUDA" if torch.version.cuda else "a build without CUDA"
    raise ValueError(
        f"accelerator is {accelerator}, and torch {torch.__version__}, {build}, sees no CUDA "
        "device here. Take auto or cpu (trainer=auto, trainer=cpu); on a machine with a GPU, see "
        "nvidia-smi and CUDA_VISIBLE_DEVICES, and install a torch for its driver "
        "(https://pytorch.org/get-started)."
    )


def chosen_precision(precision: object, accelerator: str) -> str:
    """What a run computes in, on this hardware.

    Args:
        precision: Lightning's name of it, or ``auto``: what is multiplied quickly.
        accelerator: Where, as Lightning names it.

    Returns:
        Lightning's name.
    """
    if precision != "auto":
        if precision == "bf16-mixed" and not multiplies_bfloat16(accelerator):
            log.warning(
                "precision is bf16-mixed, and this %s has no instructions for bfloat16: it is "
                "emulated, and takes several times as long as float32. Take precision=auto or "
                "32-true.",
                "GPU" if uses_cuda(accelerator) else "processor",
            )
        return str(precision)
    return "bf16-mixed" if multiplies_bfloat16(accelerator) else "32-true"


def chosen_workers(num_workers: int | str, accelerator: str, *, is_stream: bool = False) -> int:
    """How many processes prepare batches.

    Args:
        num_workers: A number, or ``auto``: none beside a processor that computes as well, and for a
            GPU `WORKERS` where there are as many cores to spare.
        accelerator: Where the run computes, as Lightning names it.
        is_stream: Whether each of them would read the whole corpus: ``auto`` takes one at most.

    Returns:
        The number, for each device.
    """
    if not isinstance(num_workers, str):
        return num_workers
    if not uses_cuda(accelerator):
        return 0
    # SLURM gives a process a share of the cores; and each GPU has a process of its own
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    most = 1 if is_stream else WORKERS
    return max(0, min(most, cores // max(torch.cuda.device_count(), 1) - 1))
