"""Samples by vLLM, with the student's weights as they are at each sampling."""

import logging
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar
from weakref import WeakSet

import numpy as np
import torch
from jaxtyping import Int

from alm_lightning.alignment.answer import Answer
from alm_lightning.models.pair import Scorer
from alm_lightning.models.structure import layers_of, unused_ids
from alm_lightning.training.on_policy.engines.engine import Sampling, answer_of, stop_ids_of
from alm_lightning.training.on_policy.engines.vllm.checkpoint import (
    checkpoint_weights,
    write_checkpoint,
)
from alm_lightning.training.on_policy.engines.vllm.process import kept_state, launched

log = logging.getLogger(__name__)

WEIGHTS_AND_CACHE = 2
"""The level of sleep at which vLLM keeps neither: weights are sent anew before each sampling."""


class VllmEngine:
    """Samples by vLLM, in this process and on the student's device.

    vLLM is made at the first call, from a folder with the student's weights as they are then, which
    lets vLLM itself check that it knows every one of them. Before each later call it gets the
    weights anew, and forgets what it has cached of the old ones.

    Args:
        student: The student, on a CUDA device by the first call.
        sampling: Temperature, lengths, and how many answers are sampled together.
        max_length: The most tokens of a prompt and its answer together.
        memory_share: Share of the device's memory that vLLM takes.
        sleeps: Whether it gives weights and cache back between calls.
        eager: Whether it runs without compiling and without CUDA graphs.
        package: The module `vllm`, or what has its `LLM`, `SamplingParams`, `TokensPrompt` and
            `ModelRegistry`.

    Raises:
        ValueError: vLLM has no model for this student, or an earlier run in this process made it.
    """

    _begun: ClassVar[WeakSet[Any]] = WeakSet()
    """Packages whose `LLM` was made: vLLM's allocator serves one in a process, and ending one ends
    the process group, which may be that of the training."""

    def __init__(
        self,
        student: Scorer,
        sampling: Sampling,
        *,
        max_length: int,
        memory_share: float,
        sleeps: bool,
        eager: bool,
        package: Any,
    ):
        name = type(student.model).__name__
        if name not in package.ModelRegistry.get_supported_archs():
            raise ValueError(
                f"on_policy/engine=vllm: the student is a {name}, and vLLM has no model of that "
                "name (a student over bytes has modules of its own). Take "
                "on_policy/engine=transformers, or a student with a subword tokenizer of a family "
                "that vLLM knows."
            )
        if len(holes := unused_ids(student.view)):
            raise ValueError(
                f"on_policy/engine=vllm: {len(holes):,} ids of {student.view.name!r} have no token "
                f"(the first is {holes[0]}), and vLLM would sample them. Take "
                "on_policy/engine=transformers."
            )
        if package in self._begun:
            raise ValueError(
                "on_policy/engine=vllm: an earlier run in this process has made vLLM, which can be "
                "made once in a process. Start each run in a process of its own: "
                "hydra/launcher=joblib in a sweep, or on_policy/engine=transformers."
            )
        self.student, self.sampling, self.max_length = student, sampling, max_length
        self.memory_share, self.sleeps, self.eager = memory_share, sleeps, eager
        self.package, self.stop_ids = package, stop_ids_of(student)
        self._llm: Any = None
        self._dtype = torch.float32

    @torch.no_grad()
    def __call__(self, prompts: Sequence[Int[np.ndarray, " _"]], *, seed: int) -> list[Answer]:
        """An answer to each prompt; all are handed over together, each with a seed of its own."""
        if not prompts:
            return []
        device = self.student.model.device
        computed_in = self._computed_in(device)
        # what is cached of a step's memory is free for vLLM; without CUDA this does nothing
        torch.cuda.empty_cache()
        # autocast would round merged weights, and what vLLM computes
        with kept_state(device), torch.autocast(device.type, enabled=False):
            if self._llm is None:
                self._dtype = computed_in
                self._llm = self._made(device)
            else:
                self._synchronise()
            asked = [prompt.tolist() for prompt in prompts]
            seeds = np.random.default_rng(seed).integers(2**31, size=len(prompts)).tolist()
            outputs = self._llm.generate(
                [self.package.TokensPrompt(prompt_token_ids=ids) for ids in asked],
                [self._parameters(own) for own in seeds],
                use_tqdm=False,
            )
            if self.sleeps:
                self._llm.sleep(level=WEIGHTS_AND_CACHE)
        return [self._answer(ids, output) for ids, output in zip(asked, outputs, strict=True)]

    def _computed_in(self, device: torch.device) -> torch.dtype:
        """The type in which a training step computes: that of autocast, or of the blocks."""
        if torch.is_autocast_enabled(device.type):
            return torch.get_autocast_dtype(device.type)
        return next(layers_of(self.student.model).parameters()).dtype

    def _parameters(self, seed: int) -> Any:
        sampling = self.sampling
        return self.package.SamplingParams(
            n=1,
            temperature=float(sampling.temperature),
            top_p=float(sampling.top_p),
            top_k=0,
            max_tokens=sampling.max_new_tokens,
            # the stop ids are all that ends an answer, whatever the model's files say
            stop_token_ids=self.stop_ids,
            ignore_eos=True,
            seed=seed,
            detokenize=False,
        )

    def _made(self, device: torch.device) -> Any:
        model, num_tokens = self.student.model, self.student.view.num_tokens
        self._begun.add(self.package)
        with TemporaryDirectory(prefix="alm_lightning_vllm_") as folder, launched(device):
            write_checkpoint(model, Path(folder), num_tokens=num_tokens, dtype=self._dtype)
            llm = self.package.LLM(
                model=folder,
                skip_tokenizer_init=True,
                # no settings of generation from the folder
                generation_config="vllm",
                dtype=str(self._dtype).removeprefix("torch."),
                max_model_len=self.max_length,
                max_num_seqs=self.sampling.batch_size,
                gpu_memory_utilization=self.memory_share,
                enforce_eager=self.eager,
                enable_sleep_mode=self.sleeps,
                tensor_parallel_size=1,
                # the only executor that takes the device from its rank; one engine a rank
                distributed_executor_backend="external_launcher",
                seed=0,
            )
        log.info("vLLM samples in %s, %s tokens at most", self._dtype, self.max_length)
        return llm

    def _synchronise(self) -> None:
        """Gives vLLM the student's weights, and makes it forget what it computed with others."""
        if self.sleeps:
            # the cache comes back when the copies that are handed over are gone
            self._llm.wake_up(tags=["weights"])
        weights = checkpoint_weights(
            self.student.model, num_tokens=self.student.view.num_tokens, dtype=self._dtype
        )
        # through the model's own `load_weights`, into the tensors that CUDA graphs have
        self._llm.collective_rpc(
            "reload_weights", kwargs={"weights_iterator": iter(weights.items())}
        )
        del weights
        if self.sleeps:
            torch.cuda.empty_cache()
            self._llm.wake_up(tags=["kv_cache"])
        if not self._llm.reset_prefix_cache():
            raise RuntimeError(
                "vLLM did not reset its cache of prefixes, which is of older weights: it still has "
                "requests, where expected none. Report this with the version of vLLM, and take "
                "on_policy/engine=transformers meanwhile."
            )

    def _answer(self, prompt: list[int], output: Any) -> Answer:
        """What vLLM says of a prompt, which must be what was asked for."""
        (sampled,) = output.outputs
        row = np.array(sampled.token_ids, np.int64)
        answer = answer_of(row, self.stop_ids)
        expected = "length" if answer.stop_id is None else "stop"
        num_tokens = self.student.view.num_tokens
        if (
            list(output.prompt_token_ids) != prompt
            or sampled.finish_reason != expected
            or (row >= num_tokens).any()
        ):
            raise RuntimeError(
                f"vLLM ended an answer by {sampled.finish_reason!r}, with ids {row.tolist()} after "
                f"prompt {list(output.prompt_token_ids)}: expected {expected!r}, ids below "
                f"{num_tokens:,}, and prompt {prompt}. Report this with the version of vLLM, and "
                "take on_policy/engine=transformers meanwhile."
            )
        return answer
