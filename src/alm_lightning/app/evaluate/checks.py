"""Everything that can be known to be wrong with models before the first of them is evaluated."""

from collections.abc import Sequence

from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

from alm_lightning.app.evaluate.models import Entry, load_entry_view
from alm_lightning.evaluation.ensemble.members import check_same_tokenizer
from alm_lightning.tokenization.view import TokenizerView


def check_models(entries: Sequence[Entry], ensembles: Sequence[Sequence[Entry]]) -> None:
    """Loads tokenizers and configurations, but no weights: this takes seconds, not hours.

    Args:
        entries: Models that are to be loaded one after another.
        ensembles: The members of each ensemble.

    Raises:
        OSError: A model or its tokenizer can't be had.
        ValueError: A model is no causal language model, or members have different tokenizers.
    """
    views: dict[str, TokenizerView] = {}
    for entry in [*entries, *(entry for members in ensembles for entry in members)]:
        place = entry.source.describe()
        if place not in views:
            views[place] = load_entry_view(entry)
            _check_config(entry)
    for members in ensembles:
        check_same_tokenizer([(each.name, views[each.source.describe()]) for each in members])


def _check_config(entry: Entry) -> None:
    location = entry.source.resolve()
    try:
        config = AutoConfig.from_pretrained(
            location.path, revision=location.revision, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        kind = OSError if isinstance(error, OSError) else ValueError
        raise kind(f"{entry.name} ({entry.source.describe()}) can't be loaded: {error}") from error
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ValueError(
            f"{entry.name} ({entry.source.describe()}) is a model of type {config.model_type}, "
            "which is no causal language model. Give one that writes text from left to right."
        )
