"""How often a corpus has each token of two tokenizers, and each pair of end tokens."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from alm_lightning.alignment.bias.store import Arrays
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

    def arrays(self) -> Arrays:
        """The counts as a file holds them: of tokens only those that occur."""
        student_ids, teacher_ids = np.flatnonzero(self.student), np.flatnonzero(self.teacher)
        return {
            "student_ids": student_ids,
            "student_counts": self.student[student_ids],
            "student_size": np.array(len(self.student)),
            "teacher_ids": teacher_ids,
            "teacher_counts": self.teacher[teacher_ids],
            "teacher_size": np.array(len(self.teacher)),
            "keys": self.keys,
            "ends": self.ends,
            "last_ends": self.last_ends,
        }

    @classmethod
    def of(cls, arrays: Arrays) -> "BiasCounts":
        """The counts that a file holds, from what `arrays` gave."""
        student = np.zeros(int(arrays["student_size"]), dtype=np.int64)
        student[arrays["student_ids"]] = arrays["student_counts"]
        teacher = np.zeros(int(arrays["teacher_size"]), dtype=np.int64)
        teacher[arrays["teacher_ids"]] = arrays["teacher_counts"]
        return cls(student, teacher, arrays["keys"], arrays["ends"], arrays["last_ends"])


def count_documents(
    documents: Iterable[Document], *, student: TokenizerView, teacher: TokenizerView
) -> BiasCounts:
    """Counts of tokens and of pairs of end tokens in a corpus, or a shard of it.

    Args:
        documents: The texts.
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
    student_counts = np.zeros(student.num_tokens, dtype=np.int64)
    teacher_counts = np.zeros(teacher.num_tokens, dtype=np.int64)
    found, last = [], []
    for document in documents:
        ours = student.encode(document.text, name=document.name)
        theirs = teacher.encode(document.text, name=document.name)
        student_counts += np.bincount(ours.ids, minlength=len(student_counts))
        teacher_counts += np.bincount(theirs.ids, minlength=len(teacher_counts))
        num_bytes = len(document.text.encode("utf-8"))
        boundaries = common_boundaries(ours.ends, theirs.ends, num_bytes)
        keys = pair_keys(
            ours.ids[closing_tokens(ours.ends, boundaries)],
            theirs.ids[closing_tokens(theirs.ends, boundaries)],
            teacher.num_tokens,
        )
        found.append(keys)
        last.append(keys[-1:])
    keys, ends = np.unique(_joined(found), return_counts=True)
    last_ends = np.zeros_like(ends)
    np.add.at(last_ends, np.searchsorted(keys, _joined(last)), 1)
    return BiasCounts(student_counts, teacher_counts, keys, ends, last_ends)


def merged(shards: Sequence[BiasCounts]) -> BiasCounts:
    """The counts of several shards, at least one, as one."""
    keys, places = np.unique(np.concatenate([s.keys for s in shards]), return_inverse=True)
    ends, last_ends = np.zeros((2, len(keys)), dtype=np.int64)
    np.add.at(ends, places, np.concatenate([s.ends for s in shards]))
    np.add.at(last_ends, places, np.concatenate([s.last_ends for s in shards]))
    student = np.sum([s.student for s in shards], axis=0)
    teacher = np.sum([s.teacher for s in shards], axis=0)
    return BiasCounts(student, teacher, keys, ends, last_ends)


def pair_keys(
    student_ids: Int[np.ndarray, " boundary"],
    teacher_ids: Int[np.ndarray, " boundary"],
    num_teacher_tokens: int,
) -> Int[np.ndarray, " boundary"]:
    """One number for each pair of tokens that end together, as `BiasCounts.keys`."""
    keys: Int[np.ndarray, " boundary"] = (
        student_ids.astype(np.int64) * num_teacher_tokens + teacher_ids
    )
    return keys


def _joined(parts: list[Int[np.ndarray, " _"]]) -> Int[np.ndarray, " boundary"]:
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])
