"""Training on the student's own answers, which the teacher reads in its own tokens.

`settings.OnPolicy` says how many sequences of a step are answers, and how they are sampled.
`prompts` draws what is to be answered out of the documents, an engine of `engines` samples, and
`answers.OwnAnswers` aligns the answers and puts them into the batches of a step.
"""

from alm_lightning.training.on_policy.answers import AnswerCounts, OwnAnswers
from alm_lightning.training.on_policy.engines import (
    Engine,
    EngineSettings,
    TransformersEngine,
    TransformersSettings,
    VllmEngine,
    VllmSettings,
)
from alm_lightning.training.on_policy.prompts import Prompts
from alm_lightning.training.on_policy.settings import OnPolicy

__all__ = [
    "AnswerCounts",
    "Engine",
    "EngineSettings",
    "OnPolicy",
    "OwnAnswers",
    "Prompts",
    "TransformersEngine",
    "TransformersSettings",
    "VllmEngine",
    "VllmSettings",
]
