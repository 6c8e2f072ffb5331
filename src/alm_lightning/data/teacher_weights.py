"""How much each of several teachers counts, everywhere or for each value of a column."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from numbers import Real

from alm_lightning.corpus.sources.source import AnyDocument

KEY = "teacher_weights"
READ = 1000
"""Documents of a stream whose groups are looked at before a run."""


@dataclass(frozen=True)
class TeacherWeights:
    """Shares of teachers, which sum to 1.

    Attributes:
        everywhere: The share of each teacher; with `by_group`, of documents of no group, which
            only other corpora have.
        by_group: The same for each group, the value that a document has in a column; None where
            all documents are alike. A share of 0 leaves a teacher out.
    """

    everywhere: tuple[float, ...]
    by_group: Mapping[str, tuple[float, ...]] | None = None

    @classmethod
    def of(cls, value: object, names: Sequence[str]) -> "TeacherWeights":
        """The shares that a setting stands for.

        Args:
            value: A list of numbers, one a teacher; a mapping from groups to such lists; or None,
                where all count alike.
            names: What the teachers are called, in their order.

        Returns:
            The shares.

        Raises:
            ValueError: The setting is none of these, or has a number that can't be.

        Example:
            >>> TeacherWeights.of([1, 3], ["a", "b"]).everywhere
            (0.25, 0.75)
        """
        alike = tuple(1.0 / len(names) for _ in names)
        if value is None:
            return cls(alike)
        if not isinstance(value, Mapping):
            shares = _shares(value, names, KEY)
            if min(shares) == 0:
                raise ValueError(
                    f"{KEY} is {value}: a teacher with weight 0 teaches nothing. Leave its store "
                    "out, or give weights for each value of a column."
                )
            return cls(shares)
        if not value:
            raise ValueError(f"{KEY} is empty: expected weights for each value of a column.")
        by_group = {
            str(group): _shares(each, names, f"{KEY} of {group}") for group, each in value.items()
        }
        for number, name in enumerate(names):
            if all(shares[number] == 0 for shares in by_group.values()):
                raise ValueError(
                    f"{KEY} gives {name} 0 for every value of the column: it teaches nothing. "
                    "Leave its store out."
                )
        return cls(alike, by_group)

    def of_group(self, group: str | None) -> tuple[float, ...]:
        """The share of each teacher in what a document of some group teaches.

        Args:
            group: The document's, or None.

        Returns:
            One share a teacher.

        Raises:
            ValueError: There are no weights for the group.
        """
        if self.by_group is None or group is None:
            return self.everywhere
        if group not in self.by_group:
            raise ValueError(_unknown([group], self.by_group))
        return self.by_group[group]

    def check(self, documents: Iterable[AnyDocument]) -> None:
        """Refuses weights for groups that a corpus does not have, and groups without weights.

        Args:
            documents: What is trained on; of a stream the first ones are looked at.

        Raises:
            ValueError: The groups are others.
        """
        if self.by_group is None:
            return
        is_whole = isinstance(documents, Sequence)
        found = {each.group for each in (documents if is_whole else islice(documents, READ))}
        if None in found:
            raise ValueError(
                f"{KEY} is by the values of a column, {', '.join(self.by_group)}, and the "
                "documents of the corpus have none. Say which column it is, as "
                "corpus.source.group_column=lang (corpus=jsonl, messages, question_answer), or "
                f"give {KEY} as a list."
            )
        groups = {group for group in found if group is not None}
        if groups - set(self.by_group):
            raise ValueError(_unknown(sorted(groups - set(self.by_group)), self.by_group))
        unused = sorted(set(self.by_group) - groups)
        if is_whole and unused:
            raise ValueError(
                f"{KEY} has {', '.join(unused)}, which is no value of corpus.source.group_column "
                f"in this corpus. There are: {', '.join(sorted(groups))}."
            )


def _shares(value: object, names: Sequence[str], key: str) -> tuple[float, ...]:
    """Numbers that sum to 1."""
    # a text is a sequence too
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(
            f"{key} is {value!r}: expected a list of {len(names)} numbers, one for each teacher: "
            f"{', '.join(names)}."
        )
    if len(value) != len(names):
        raise ValueError(
            f"{key} has {len(value)} weights, {list(value)}, and there are {len(names)} teachers: "
            f"{', '.join(names)}. Give one for each."
        )
    for each, name in zip(value, names, strict=True):
        is_number = isinstance(each, Real) and not isinstance(each, bool)
        if not is_number or not 0 <= float(each) < math.inf:
            raise ValueError(
                f"{key} is {list(value)}: the weight of {name} is {each!r}, expected a number of "
                "at least 0."
            )
    total = sum(map(float, value))
    if total <= 0:
        raise ValueError(f"{key} is {list(value)}: expected a weight above 0 among them.")
    return tuple(float(each) / total for each in value)


def _unknown(groups: Sequence[str], known: Mapping[str, object]) -> str:
    return (
        f"{KEY} has weights for {', '.join(known)}, and none for {', '.join(groups)}, which "
        "documents have in corpus.source.group_column. Give weights for these too."
    )
