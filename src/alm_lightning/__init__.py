"""Cross-tokenizer distillation in PyTorch: Approximate Likelihood Matching.

Public names: `distill` trains a student; `load_tokenizer`, `align_text` and `align_messages` show
what two tokenizers have in common. A package is a station of a document's way, in this order:
corpus, tokenization, alignment, data, likelihood, models, objectives, metrics, training, export,
evaluation, distillation, app. `inspection` draws what alignment found.
"""

from typing import TYPE_CHECKING, Any

from alm_lightning.alignment.aligned import AlignedText
from alm_lightning.alignment.chat.messages import align_messages
from alm_lightning.alignment.text import align_text
from alm_lightning.tokenization.load import load_tokenizer

if TYPE_CHECKING:
    from alm_lightning.distillation.distill import distill
    from alm_lightning.distillation.result import DistillResult

__all__ = [
    "AlignedText",
    "DistillResult",
    "align_messages",
    "align_text",
    "distill",
    "load_tokenizer",
]


def __getattr__(name: str) -> Any:
    # torch and Lightning take seconds to import, and alignment needs neither
    if name == "distill":
        from alm_lightning.distillation.distill import distill

        return distill
    if name == "DistillResult":
        from alm_lightning.distillation.result import DistillResult

        return DistillResult
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
