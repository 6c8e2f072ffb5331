"""The cache of an ensemble: one of each member, which generation handles as one."""

from collections.abc import Sequence

from jaxtyping import Int
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel


class EnsembleCache(Cache):
    """Caches of members of any depth and width, at the same place of the same text.

    What changes rows or length is done to every one of them. A member's own cache is handed to it
    as it is, so that what a model keeps there besides (a byte student its last bytes) is kept.

    Args:
        members: A cache a member, in their order.
    """

    def __init__(self, members: Sequence[Cache]):
        self.members = list(members)
        self.layer_class_to_replicate, self.offloading = None, False

    @classmethod
    def empty(cls, models: Sequence[PreTrainedModel]) -> "EnsembleCache":
        """An empty cache: for each member the kinds of layers that its configuration has."""
        return cls(
            [DynamicCache(config=model.config.get_text_config(decoder=True)) for model in models]
        )

    @property
    def layers(self) -> list:
        """The layers of all members, one after another, for whatever is the same for any layer."""
        return [layer for member in self.members for layer in member.layers]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Number of tokens that were read."""
        # a member with nothing but states has no count
        counting = [member for member in self.members if not all(member.is_linear)]
        return (counting or self.members)[0].get_seq_length(layer_idx)

    def reorder_cache(self, beam_idx: Int[Tensor, " beam"]) -> None:
        """Puts rows where beam search wants them."""
        for member in self.members:
            member.reorder_cache(beam_idx)

    def crop(self, tokens_to_remove: int) -> None:
        """Forgets the last tokens."""
        for member in self.members:
            member.crop(tokens_to_remove)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeats each row."""
        for member in self.members:
            member.batch_repeat_interleave(repeats)

    def batch_select_indices(self, indices: Int[Tensor, " kept"]) -> None:
        """Keeps some rows."""
        for member in self.members:
            member.batch_select_indices(indices)

    def reset(self) -> None:
        """Forgets everything."""
        for member in self.members:
            member.reset()

    @property
    def is_compileable(self) -> bool:
        """Never: members are compiled one by one, if at all."""
        return False


def check_cache(cache: Cache | None) -> None:
    """Refuses the cache of one model."""
    if cache is not None and not isinstance(cache, EnsembleCache):
        raise ValueError(
            f"the cache is a {type(cache).__name__}, expected an EnsembleCache, with one a member. "
            "Leave it out at the first step, and pass on what that one returns."
        )
