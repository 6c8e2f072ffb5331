"""Models whose weights are spread over all ranks (FSDP2), each block gathered where it is needed.

`pair` is all of it for a run; `models` spreads a model, and puts it together again; `strategy`
makes the processes and their mesh, and saves and loads checkpoints.
"""

from alm_lightning.training.sharding.pair import SpreadPair
from alm_lightning.training.sharding.strategy import ShardedStrategy

__all__ = ["ShardedStrategy", "SpreadPair"]
