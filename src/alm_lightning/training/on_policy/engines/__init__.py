"""Engines, which sample the student's answers: transformers' generation, and vLLM.

`engine` says what an engine is and what its settings are; each other part is one of them.
"""

from alm_lightning.training.on_policy.engines.engine import Engine, EngineSettings, Sampling
from alm_lightning.training.on_policy.engines.transformers import (
    TransformersEngine,
    TransformersSettings,
)
from alm_lightning.training.on_policy.engines.vllm import VllmEngine, VllmSettings

__all__ = [
    "Engine",
    "EngineSettings",
    "Sampling",
    "TransformersEngine",
    "TransformersSettings",
    "VllmEngine",
    "VllmSettings",
]
