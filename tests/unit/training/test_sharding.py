"""Models that are spread over ranks, as far as one process shows it."""

import copy
from functools import partial

from alm_lightning.models.structure import layers_of
from alm_lightning.training.sharding.models import _skeleton


def test_a_copy_calls_its_own_blocks(scorers):
    model = copy.deepcopy(scorers[0].model)
    for layer in layers_of(model):
        # as `compile_blocks` does: an attribute, which goes with a copy
        layer.forward = partial(layer.forward)
    skeleton = _skeleton(model)
    assert all("forward" in vars(layer) for layer in layers_of(model))
    assert not any("forward" in vars(layer) for layer in layers_of(skeleton))
    assert {parameter.device.type for parameter in skeleton.parameters()} == {"meta"}
