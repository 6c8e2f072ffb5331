"""The record of a pair's biases: what `bias_statistics` finds and `BiasThreshold` looks up."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float32, Int

from alm_lightning.alignment.bias.counts import pair_keys


@dataclass(frozen=True)
class BiasStatistics:
    """Biases of two tokenizers, for the pairs of tokens that end common boundaries in a corpus.

    Attributes:
        student_fingerprint: Of the student's tokenizer.
        teacher_fingerprint: Of the teacher's tokenizer.
        num_teacher_tokens: Size of the teacher's vocabulary, which `keys` are made with.
        keys: The pairs, ascending, as in `BiasCounts`.
        bias: The bias of each, between 0 and 1.
        ends: How often each pair ends a common boundary.
        last_ends: How often it ends the last one of a document.
        num_documents: Documents of the corpus.
        num_student_tokens_seen: The student's tokens in the corpus.
        num_teacher_tokens_seen: The teacher's tokens in the corpus.
        neglected: The most that a bias may be too small or too large by, for covers of next to no
            mass that were left out.
    """

    student_fingerprint: str
    teacher_fingerprint: str
    num_teacher_tokens: int
    keys: Int[np.ndarray, " pair"]
    bias: Float32[np.ndarray, " pair"]
    ends: Int[np.ndarray, " pair"]
    last_ends: Int[np.ndarray, " pair"]
    num_documents: int
    num_student_tokens_seen: int
    num_teacher_tokens_seen: int
    neglected: float

    def bias_of(
        self,
        student_ids: Int[np.ndarray, " boundary"],
        teacher_ids: Int[np.ndarray, " boundary"],
    ) -> Float32[np.ndarray, " boundary"]:
        """The bias of pairs of tokens.

        Args:
            student_ids: The student's tokens.
            teacher_ids: The teacher's tokens that end where these end.

        Returns:
            Between 0 and 1; 1 for a pair that the corpus does not have, so that it is merged:
            nothing passes unproven.
        """
        places, is_known = self._places(student_ids, teacher_ids)
        return np.where(is_known, self.bias[places], np.float32(1))

    def is_known(
        self,
        student_ids: Int[np.ndarray, " boundary"],
        teacher_ids: Int[np.ndarray, " boundary"],
    ) -> Bool[np.ndarray, " boundary"]:
        """Whether the corpus has each pair of tokens.

        Args:
            student_ids: The student's tokens.
            teacher_ids: The teacher's tokens that end where these end.

        Returns:
            One flag a pair.
        """
        return self._places(student_ids, teacher_ids)[1]

    def num_chunks(self, threshold: float) -> int:
        """Chunks that the corpus has if only ends of a bias up to a threshold bound them.

        Args:
            threshold: The largest bias; 1 gives the finest alignment.

        Returns:
            Their number, with the chunk at the end of each document, which is bounded by that end.
        """
        is_merged = self.bias > threshold
        return int(self.ends.sum() - (self.ends - self.last_ends)[is_merged].sum())

    def share_merged(self, threshold: float) -> float:
        """Share of the finest chunks that are merged with the one after them.

        Args:
            threshold: The largest bias that bounds a chunk.

        Returns:
            Between 0 and 1.
        """
        return 1.0 - self.num_chunks(threshold) / self.num_chunks(1.0)

    def arrays(self) -> dict[str, np.ndarray]:
        """The statistics as a file holds them."""
        return {field.name: np.array(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> "BiasStatistics":
        """The statistics that a file holds.

        Args:
            arrays: What `arrays` gave.

        Returns:
            The statistics.
        """
        return cls(**{name: a if a.ndim else a.item() for name, a in arrays.items()})

    def _places(
        self, student_ids: Int[np.ndarray, " boundary"], teacher_ids: Int[np.ndarray, " boundary"]
    ) -> tuple[Int[np.ndarray, " boundary"], Bool[np.ndarray, " boundary"]]:
        keys = pair_keys(student_ids, teacher_ids, self.num_teacher_tokens)
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return places, self.keys[places] == keys
