"""What is evaluated: a model or an ensemble, its tokenizer, and the name that tables give it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from transformers import PreTrainedModel

from alm_lightning.tokenization.view import TokenizerView

NO_LIMIT = 1 << 30
"""A context as long as this is no limit: some families (state-space models) have none."""

BROKEN = (
    "its weights are broken, or overflow in their type. Take dtype=float32, or another checkpoint"
)
"""Why a model gives numbers that are not finite, and what to do."""


@dataclass(frozen=True, eq=False)
class EvaluatedModel:
    """A causal language model with its tokenizer.

    Attributes:
        name: What tables, files and errors call it.
        model: The model, or an `Ensemble`, in eval mode.
        view: Its tokenizer.
        described: Where it comes from, in words.
        stop_ids: Where generation ends: EOS, and the end of a turn.
        run: The folder of the run that made it, if it is a student of this project.
    """

    name: str
    model: PreTrainedModel = field(repr=False)
    view: TokenizerView
    described: str
    stop_ids: Sequence[int]
    run: Path | None = None

    @property
    def context_length(self) -> int:
        """The most tokens that the model was made to read at once, its start token included."""
        config = self.model.config.get_text_config()
        return getattr(config, "max_position_embeddings", None) or NO_LIMIT
