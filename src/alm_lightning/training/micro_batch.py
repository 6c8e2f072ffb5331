"""`budget.micro_batch_size=auto`: as many rows in a forward pass as fit into memory."""

import copy
import gc
import logging
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy, Strategy
from torch import Tensor, nn

from alm_lightning.data.batch import DistillBatch
from alm_lightning.data.datamodule import DistillDataModule
from alm_lightning.training.memory import forget_peak_memory
from alm_lightning.training.optimizers import OptimizerFactory
from alm_lightning.training.step import DistillStep

log = logging.getLogger(__name__)

AUTO = "auto"
EVALUATED_ROWS = 4
"""Rows of a forward pass over evaluation sets, which are evaluated on before anything is tried."""
CPU_TOKENS = 4096
"""The most tokens of a micro-batch on a processor, of the longer side: it gains nothing by more,
and the memory of a machine is no one run's."""
SPARE = 0.05
"""Share of a device's memory that is left free in the trial: pieces between what is taken, and
rows that hold more chunks than those that are tried."""


def largest_that_fits(fits: Callable[[int], bool], most: int) -> int:
    """The largest share of a step that fits: all of its rows, half of them, and so on.

    Args:
        fits: Whether so many rows do.
        most: All rows of a step on this device.

    Returns:
        Rows; 1 where nothing fits, so that the step itself says what is lacking.

    Example:
        >>> largest_that_fits(lambda rows: rows <= 5, 13)
        4
    """
    rows = most
    while rows > 1 and not fits(rows):
        # rounded up, so that all micro-batches but the last are of one size
        rows = -(-rows // 2)
    return max(rows, 1)


def rows_on_processor(most: int, length: int) -> int:
    """Rows of a micro-batch on a processor.

    Args:
        most: All rows of a step.
        length: Tokens of a row, of the longer side.

    Returns:
        As many rows as `CPU_TOKENS` has, at least 1.
    """
    return max(1, min(most, CPU_TOKENS // length))


def rows_that_fit(
    data: DistillDataModule,
    step: DistillStep,
    *,
    remembering: Sequence[nn.Module],
    make_optimizer: OptimizerFactory,
    parameters: Sequence[nn.Parameter],
    strategy: Strategy,
) -> int:
    """The size of a micro-batch, the same on all ranks.

    Args:
        data: Where rows come from, and how many a step has.
        step: The step that is to be taken with them.
        remembering: Modules besides the student that a step may change: terms and balance.
        make_optimizer: Makes the optimizer from groups of parameters.
        parameters: What is trained.
        strategy: How ranks compute together.

    Returns:
        Rows, at least 1.

    Raises:
        ValueError: Under a strategy whose ranks can't try alone what fits.
    """
    device = step.student.model.device
    if device.type != "cuda":
        rows = rows_on_processor(data.num_rows, max(data.lengths))
    else:
        rows = tried_rows(
            data,
            step,
            remembering=remembering,
            make_optimizer=make_optimizer,
            parameters=parameters,
            strategy=strategy,
            spare=round(torch.cuda.get_device_properties(device).total_memory * SPARE),
        )
    rows = -int(step.reduce(torch.tensor(-rows, device=device), "max"))
    log.info("micro_batch_size: %d of %d sequences of a step", rows, data.num_rows)
    return rows


def tried_rows(
    data: DistillDataModule,
    step: DistillStep,
    *,
    remembering: Sequence[nn.Module],
    make_optimizer: OptimizerFactory,
    parameters: Sequence[nn.Parameter],
    strategy: Strategy,
    spare: int,
) -> int:
    """The most rows of a micro-batch that fit on a device, by trials.

    Args:
        data: Where rows come from, and how many a step has.
        step: The step that is to be taken with them.
        remembering: Modules besides the student that a step may change: terms and balance.
        make_optimizer: Makes the optimizer from groups of parameters.
        parameters: What is trained.
        strategy: How ranks compute together.
        spare: Bytes that are left free.

    Returns:
        Rows, at least 1.

    Raises:
        ValueError: Under a strategy whose ranks can't try alone what fits.
    """
    if not isinstance(strategy, SingleDeviceStrategy | DDPStrategy):
        raise ValueError(
            f"micro_batch_size is auto, and with {type(strategy).__name__} ranks compute together, "
            "so that none can try alone what fits. Give a number, 1 to start with."
        )
    held = held_by_optimizer(make_optimizer, parameters) + spare
    trial = Trial(step, remembering, held_bytes=held)
    row, device = data.longest_row(), step.student.model.device

    def fits(rows: int, parts: int) -> bool:
        batch = data.collator.of_rows([row] * rows).to(device)
        return trial([batch] * parts)

    # libraries take memory when they are first called: while there is plenty
    fits(1, parts=1)
    # what the teacher says of all micro-batches is held at once
    found = largest_that_fits(lambda n: fits(n, parts=-(-data.num_rows // n)), data.num_rows)
    # sizes that were tried and did not fit are not what the run holds
    forget_peak_memory()
    return found


class Trial:
    """Whether a step of so many rows fits: it is taken, and what it did is undone.

    Args:
        step: The step; a copy is taken that does not talk to other ranks, which may be trying other
            sizes.
        remembering: Modules besides the student that a step may change: terms and balance.
        held_bytes: Memory that a run will hold besides, such as the optimizer's states.
    """

    def __init__(self, step: DistillStep, remembering: Sequence[nn.Module], *, held_bytes: int):
        self.step = copy.copy(step)
        self.step.reduce = _alone
        self.step.backward = _backward
        self.remembering, self.held_bytes = remembering, held_bytes

    def __call__(self, batches: Sequence[DistillBatch]) -> bool:
        """Takes a step, and undoes it.

        Args:
            batches: Its micro-batches.

        Returns:
            False if memory was too small.
        """
        device = self.step.student.model.device
        remembered = [copy.deepcopy(module.state_dict()) for module in self.remembering]
        devices = [device] if device.type == "cuda" else []
        try:
            with torch.random.fork_rng(devices=devices):
                held = torch.empty(self.held_bytes, dtype=torch.uint8, device=device)
                self.step(batches)
                del held
            return True
        except RuntimeError as error:
            # libraries that take memory of their own have errors of their own
            if not isinstance(error, torch.OutOfMemoryError) and not _is_of_memory(error):
                raise
            return False
        finally:
            for module in (self.step.student.model, *self.remembering):
                module.zero_grad(set_to_none=True)
            for module, state in zip(self.remembering, remembered, strict=True):
                module.load_state_dict(state)
            if device.type == "cuda":
                # what an error's traceback holds may hold it in a circle
                gc.collect()
                torch.cuda.empty_cache()


def _alone(
    value: Shaped[Tensor, "..."], op: Literal["sum", "max"] = "sum"
) -> Shaped[Tensor, "..."]:
    return value


def _backward(loss: Float[Tensor, ""], *, exchange: bool) -> None:
    loss.backward()


def _is_of_memory(error: RuntimeError) -> bool:
    return any(words in str(error) for words in ("out of memory", "ALLOC_FAILED"))


def held_by_optimizer(make: OptimizerFactory, parameters: Sequence[nn.Parameter]) -> int:
    """Bytes that an optimizer will hold for some parameters, after its first step.

    Args:
        make: Makes the optimizer from groups of parameters.
        parameters: What is trained.

    Returns:
        By its states for one small matrix, times the size of the parameters.
    """
    device = parameters[0].device
    # torchao quantises the states of tensors of 4,096 elements and more
    small = nn.Parameter(torch.zeros(64, 64, device=device))
    small.grad = torch.zeros_like(small)
    optimizer = make([{"params": [small]}])
    optimizer.step()
    states = [each for each in optimizer.state[small].values() if isinstance(each, Tensor)]
    taken = sum(_bytes_of(each) for each in states if each.numel() > 1)
    return round(taken / small.numel() * sum(each.numel() for each in parameters))


def _bytes_of(tensor: Tensor) -> int:
    if hasattr(tensor, "__tensor_flatten__"):
        # a tensor made of others, as those of 8 bits
        names, _ = tensor.__tensor_flatten__()
        return sum(_bytes_of(getattr(tensor, name)) for name in names)
    return tensor.numel() * tensor.element_size()
