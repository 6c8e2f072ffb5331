"""The student's token of least edit distance, for the teacher's tokens that are needed."""

import numpy as np
from jaxtyping import Int
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

from alm_lightning.counterparts import NONE, ids_by_bytes
from alm_lightning.objectives.vocabularies.counterparts import same_tokens
from alm_lightning.objectives.vocabularies.pair_facts import Vocabulary

BATCH = 64
"""Tokens that are compared with all of a vocabulary at once: 64 MiB where it has 262,144."""


class NearestTokens:
    """From a teacher's ids to the student's ids that are written most alike.

    All pairs would have ten thousand million distances (Gemma 3's vocabulary with SmolLM2's). They
    are computed only for the teacher's tokens that are asked for, once each, and only for those
    that the student does not have.
    """

    def __init__(self, *, student: Vocabulary, teacher: Vocabulary):
        self._student_ids = same_tokens(teacher, student)
        self._surfaces = teacher.token_bytes
        # the lowest id first: argmin takes the first of several that are equally near
        candidates = sorted((id_, _text(s)) for s, id_ in ids_by_bytes(student).items())
        self._ids = np.array([id_ for id_, _ in candidates], dtype=np.int64)
        self._texts = [text for _, text in candidates]

    def __call__(self, teacher_ids: Int[np.ndarray, "..."]) -> Int[np.ndarray, "..."]:
        """The student's tokens for some of the teacher's.

        For each the student's id with the same bytes or the same role; else, of those with the
        least edit distance, in bytes, the lowest; `NONE` for a special token without a counterpart.
        """
        asked = np.unique(teacher_ids)
        unknown = asked[self._student_ids[asked] == NONE].tolist()
        missing = [(id_, surface) for id_ in unknown if (surface := self._surfaces[id_])]
        for start in range(0, len(missing) if self._texts else 0, BATCH):
            part = missing[start : start + BATCH]
            texts = [_text(surface) for _, surface in part]
            distances = cdist(texts, self._texts, scorer=Levenshtein.distance, dtype=np.int32)
            self._student_ids[[id_ for id_, _ in part]] = self._ids[distances.argmin(axis=1)]
        return self._student_ids[teacher_ids]


def _text(surface: bytes) -> str:
    """Bytes as characters, one each: the library compares those."""
    return surface.decode("latin-1")
