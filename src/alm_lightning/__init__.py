"""Cross-tokenizer distillation in PyTorch: Approximate Likelihood Matching.

Public surface: `load_tokenizer`, `align_text`, `align_messages`. A folder is a station of the
journey, in this order: corpus, tokenization, alignment, data, likelihood, models, objectives,
metrics, training, export, evaluation, app. `inspection` draws what alignment found.
"""

from alm_lightning.alignment.chat.messages import align_messages
from alm_lightning.alignment.text import AlignedText, align_text
from alm_lightning.tokenization.load import load_tokenizer

__all__ = ["AlignedText", "align_messages", "align_text", "load_tokenizer"]
