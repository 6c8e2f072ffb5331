"""How often a corpus has each token of two tokenizers, and each pair of end tokens."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from alm_lightning.alignment.boundaries import closing_tokens, common_boundaries
from alm_lightning.corpus.document import Document
from alm_lightning.tokenization.view import TokenizerView


@dataclass(frozen=True)
class BiasCounts:
    """Counts over documents.

    Attributes:
        student: How often each of the student's tokens occurs.
        teacher: How often each of the teacher's tokens occurs.
        keys: Pairs of tokens that end at a common boundary, ascending: the student's id times the
            number of teacher tokens, plus the teacher's id.
        ends: How often each of these pairs does.
        last_ends: How often it does at the last common boundary of a document, which bounds a chunk
            whatever its bias.
    """

    student: Int[np.ndarray, " vocab"]
    teacher: Int[np.ndarray, " teacher_vocab"]
    keys: Int[np.ndarray, " pair"]
    ends: Int[np.ndarray, " pair"]
    last_ends: Int[np.ndarray, " pair"]

    def arrays(self) -> dict[str, np.ndarray]:
        """The counts as a file holds them: of tokens only those that occur."""
        tokens: dict[str, np.ndarray] = {}
        for side, counts in (("student", self.student), ("teacher", self.teacher)):
            ids = np.flatnonzero(counts)
            tokens |= {f"{side}_ids": ids, f"{side}_counts": counts[ids]}
            tokens[f"{side}_size"] = np.array(len(counts))
        return tokens | {"keys": self.keys, "ends": self.ends, "last_ends": self.last_ends}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> "BiasCounts":
        """The counts that a file holds.

        Args:
            arrays: What `arrays` gave.

        Returns:
            The counts.
        """
        sides = []
        for side in ("student", "teacher"):
            counts = np.zeros(int(arrays[f"{side}_size"]), dtype=np.int64)
            counts[arrays[f"{side}_ids"]] = arrays[f"{side}_counts"]
            sides.append(counts)
        return cls(*sides, arrays["keys"], arrays["ends"], arrays["last_ends"])


def count_documents(
    documents: Iterable[Document], *, student: TokenizerView, teacher: TokenizerView
) -> BiasCounts:
    """Counts of tokens and of pairs of end tokens.

    Args:
        documents: The corpus, or a shard of it.
        student: The student's tokenizer.
        teacher: The teacher's tokenizer.

    Returns:
        The counts.

    Example:
        >>> from alm_lightning.tokenization.load import load_tokenizer
        >>> view = load_tokenizer("bytes")
        >>> counts = count_documents([Document("aab", "x")], student=view, teacher=view)
        >>> counts.student[[ord("a"), ord("b")]], counts.ends, counts.last_ends
        (array([2, 1]), array([2, 1]), array([0, 1]))
    """
    tokens = [np.zeros(view.num_tokens, dtype=np.int64) for view in (student, teacher)]
    found, last = [], []
    for document in documents:
        sides = [view.encode(document.text, name=document.name) for view in (student, teacher)]
        for counts, side in zip(tokens, sides, strict=True):
            counts += np.bincount(side.ids, minlength=len(counts))
        num_bytes = len(document.text.encode("utf-8"))
        boundaries = common_boundaries(sides[0].ends, sides[1].ends, num_bytes)
        closing = [side.ids[closing_tokens(side.ends, boundaries)] for side in sides]
        keys = pair_keys(closing[0], closing[1], teacher.num_tokens)
        found.append(keys)
        last.append(keys[-1:])
    keys, ends = np.unique(_joined(found), return_counts=True)
    last_ends = np.zeros_like(ends)
    np.add.at(last_ends, np.searchsorted(keys, _joined(last)), 1)
    return BiasCounts(tokens[0], tokens[1], keys, ends, last_ends)


def merged(shards: Iterable[BiasCounts]) -> BiasCounts:
    """The counts of several shards as one.

    Args:
        shards: At least one, of one pair of tokenizers.

    Returns:
        Their sum.
    """
    shards = list(shards)
    keys, places = np.unique(np.concatenate([s.keys for s in shards]), return_inverse=True)
    sums = np.zeros((2, len(keys)), dtype=np.int64)
    for row, counts in zip(
        sums, ([s.ends for s in shards], [s.last_ends for s in shards]), strict=True
    ):
        np.add.at(row, places, np.concatenate(counts))
    student = np.sum([s.student for s in shards], axis=0)
    teacher = np.sum([s.teacher for s in shards], axis=0)
    return BiasCounts(student, teacher, keys, sums[0], sums[1])


def pair_keys(
    student_ids: Int[np.ndarray, " boundary"],
    teacher_ids: Int[np.ndarray, " boundary"],
    num_teacher_tokens: int,
) -> Int[np.ndarray, " boundary"]:
    """One number for each pair of tokens.

    Args:
        student_ids: The student's tokens.
        teacher_ids: The teacher's tokens that end where these end.
        num_teacher_tokens: Size of the teacher's vocabulary.

    Returns:
        Keys, as `BiasCounts` has them.
    """
    return student_ids.astype(np.int64) * num_teacher_tokens + teacher_ids


def _joined(parts: list[np.ndarray]) -> Int[np.ndarray, " boundary"]:
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])
