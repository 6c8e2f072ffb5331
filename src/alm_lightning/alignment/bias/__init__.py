"""Tokenization bias: what the last token of a chunk says about the text that follows it.

`BiasThreshold` merges chunks until the bias at their end is small enough. `bias_statistics` finds
the bias of every pair of end tokens in a corpus, in jobs that several processes can do, and keeps
it on disk. `exclusions` has the definitions.
"""

from alm_lightning.alignment.bias.statistics import BiasStatistics, bias_statistics
from alm_lightning.alignment.bias.threshold import BiasThreshold

__all__ = ["BiasStatistics", "BiasThreshold", "bias_statistics"]
