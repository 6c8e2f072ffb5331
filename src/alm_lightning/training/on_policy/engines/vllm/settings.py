"""Settings of vLLM, and the runs that it can't sample for."""

import importlib
import importlib.util
from dataclasses import dataclass

from alm_lightning.likelihood.hardware import uses_cuda
from alm_lightning.models.pair import Scorer
from alm_lightning.training.on_policy.engines.engine import Engine, Sampling
from alm_lightning.training.on_policy.engines.vllm.engine import VllmEngine

TEMPERATURES = (0.01, 2.0)
"""vLLM raises a lower temperature to the first without an error, and refuses one above the second
(vllm/sampling_params.py)."""


@dataclass(frozen=True, kw_only=True)
class VllmSettings:
    """Answers are sampled by vLLM, on the GPU of each rank.

    Attributes:
        memory_share: Share of a GPU's memory that vLLM takes for weights, activations and cache:
            its `gpu_memory_utilization`. So much must be free when answers are first sampled.
        sleeps: Whether it gives weights and cache back to training between samplings.
        eager: Whether it runs without compiling and without CUDA graphs: slower, and begun sooner.

    Raises:
        ValueError: The share makes no sense.
    """

    memory_share: float
    sleeps: bool
    eager: bool

    def __post_init__(self) -> None:
        """Refuses a share that makes no sense."""
        if not 0 < self.memory_share < 1:
            raise ValueError(
                f"on_policy.engine.memory_share is {self.memory_share}: expected a share of the "
                "GPU's memory in (0, 1); training needs the rest."
            )

    def check(self, sampling: Sampling, *, accelerator: str, micro_batch_size: int | str) -> None:
        """Refuses a run that vLLM can't sample for, before anything is loaded.

        Args:
            sampling: How answers are sampled.
            accelerator: Where the run computes, as Lightning names it.
            micro_batch_size: Sequences of a forward pass; ``auto`` for as many as fit.

        Raises:
            ImportError: vLLM is not installed.
            ValueError: The run computes on no CUDA device, or settings do not go with vLLM.
        """
        if not uses_cuda(accelerator):
            raise ValueError(
                "on_policy/engine=vllm samples on a CUDA device, and this run has none: its "
                f"accelerator is {accelerator!r} (trainer.accelerator), and torch sees "
                f"{_devices()}. Take on_policy/engine=transformers, or a machine with such a "
                "device."
            )
        if importlib.util.find_spec("vllm") is None:
            raise ImportError(
                "on_policy/engine=vllm needs vLLM, which is not installed. Install it with `pip "
                "install 'alm-lightning[vllm]'`, or take on_policy/engine=transformers."
            )
        low, high = TEMPERATURES
        if not low <= sampling.temperature <= high:
            raise ValueError(
                f"on_policy.temperature is {sampling.temperature}, and vLLM samples at {low} to "
                f"{high}. Take such a temperature, or on_policy/engine=transformers."
            )
        if micro_batch_size == "auto":
            raise ValueError(
                "the size of a micro-batch is auto (budget.micro_batch_size): it is tried before "
                "vLLM has taken its memory, so that what fits then need not fit later. Give a "
                "number, or take on_policy/engine=transformers."
            )

    def engine(self, student: Scorer, sampling: Sampling, *, max_length: int) -> Engine:
        """The engine of a run, which takes its memory when answers are first sampled.

        Args:
            student: The student.
            sampling: How answers are sampled.
            max_length: The most tokens of a prompt and its answer together.

        Returns:
            The engine. A ValueError says that vLLM has no model for this student.
        """
        return VllmEngine(
            student,
            sampling,
            max_length=max_length,
            memory_share=self.memory_share,
            sleeps=self.sleeps,
            eager=self.eager,
            package=importlib.import_module("vllm"),
        )


def _devices() -> str:
    # with a device that was passed over, the accelerator alone is the reason
    return "a CUDA device" if uses_cuda() else "no CUDA device"
