"""How quickly models compute the same numbers: attention, kernels, compilation, checkpointing.

`settings.Speed` holds the settings of the group `speed` and applies them. `attention` chooses how
attention is computed, `compiled` compiles blocks, `kernels` puts Liger's kernels in.
"""

from alm_lightning.models.speed.settings import Speed

__all__ = ["Speed"]
