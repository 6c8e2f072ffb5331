"""Ensembles: models of one tokenizer whose probabilities are combined token by token.

`Ensemble` is used like a causal language model of transformers: it generates, and it gives
logits. `members` loads and checks the models, `scores` reads an ensemble without whole logits, and
`config` makes it a folder that loads again.
"""

from alm_lightning.evaluation.ensemble.model import Ensemble

__all__ = ["Ensemble"]
