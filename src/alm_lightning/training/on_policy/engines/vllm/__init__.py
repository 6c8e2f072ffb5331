"""Sampling by vLLM, in the process that trains and on its GPU.

`settings` refuses a run that vLLM can't sample for, `engine` samples, `checkpoint` writes the
student's weights as vLLM reads them, and `process` guards what vLLM changes of the process.

Written against the sources of vLLM 0.30.0; the comments name what of them is relied on. It was
never run on a GPU by this project.
"""

from alm_lightning.training.on_policy.engines.vllm.engine import VllmEngine
from alm_lightning.training.on_policy.engines.vllm.settings import VllmSettings

__all__ = ["VllmEngine", "VllmSettings"]
