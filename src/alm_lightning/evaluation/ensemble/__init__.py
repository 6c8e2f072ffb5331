"""Ensembles: models of one tokenizer whose probabilities are combined token by token.

`Ensemble` is used like a causal language model of transformers: it generates, and it gives
logits. `members` checks that models share a tokenizer, `weights` fits their weights to a text, and
`scores` scores texts without whole logits.
"""

from alm_lightning.evaluation.ensemble.model import Ensemble

__all__ = ["Ensemble"]
