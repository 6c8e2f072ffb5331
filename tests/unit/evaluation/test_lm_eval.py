"""lm-eval's own tasks, from local files, by tiny models."""

import json
import math

import pytest

from alm_lightning.evaluation import lm_eval_tasks
from alm_lightning.evaluation.blimp import Blimp
from alm_lightning.evaluation.ensemble import Ensemble
from alm_lightning.evaluation.lm_eval_harness import LmEval
from alm_lightning.evaluation.subject import Subject

pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install 'alm-lightning[eval]'")

# of lm-eval and datasets, and of what they import
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
