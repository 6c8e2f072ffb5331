"""Teachers of which stores have all that a run needs, one or several."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from alm_lightning.data.teacher_weights import TeacherWeights
from alm_lightning.objectives.objective import Objective
from alm_lightning.scores.ensemble import LOSSES, WAYS, StoredTeachers
from alm_lightning.scores.kinds import check_kinds
from alm_lightning.scores.manifest import MANIFEST, PLAN
from alm_lightning.scores.reader import StoreReader
from alm_lightning.scores.teacher import StoredTeacher

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredScores:
    """A teacher of which a store has all that a run needs, and whose weights are not there.

    Attributes:
        folder: The store's.

    Raises:
        FileNotFoundError: There is no whole store.
        ValueError: It is damaged.
    """

    folder: Path
    _store: StoreReader = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Opens the store: what is wrong with it is said before anything is loaded."""
        object.__setattr__(self, "_store", StoreReader(self.folder))

    @property
    def store(self) -> StoreReader:
        """The store."""
        return self._store

    @property
    def stores(self) -> tuple[StoreReader, ...]:
        """The same, as several teachers have them."""
        return (self._store,)

    @property
    def identity(self) -> str:
        """Tells the store apart from others."""
        return self._store.identity

    @property
    def name(self) -> str:
        """The teacher's name."""
        return self._store.manifest.plan.teacher

    @property
    def licence(self) -> str:
        """The teacher's licence."""
        return self._store.manifest.plan.licence

    def load(self, side: str, device: str) -> StoredTeacher:
        """What takes the place of the teacher.

        Args:
            side: ``teacher``.
            device: Not read.

        Returns:
            The stored teacher.
        """
        manifest = self._store.manifest
        log.info(
            "%s: %s, its scores of %s tokens in %s",
            side,
            self.name,
            f"{manifest.tokens:,}",
            self.folder,
        )
        return StoredTeacher(self._store)

    def check_objective(self, terms: Mapping[str, Objective]) -> None:
        """Refuses terms that read more than the store has.

        Args:
            terms: The terms, by name.
        """
        check_kinds(self.store.manifest.plan.kinds, terms, str(self.folder))


@dataclass(frozen=True)
class SeveralScores:
    """Several such teachers of one student.

    Attributes:
        each: The teachers.
        labels: What logs and summaries call them, no two alike.
        weights: How much each counts.
        combine: How: one of `WAYS`.
    """

    each: tuple[StoredScores, ...]
    labels: tuple[str, ...]
    weights: TeacherWeights
    combine: str

    @classmethod
    def of(cls, folders: Sequence[Path], weights: object, combine: str) -> "SeveralScores":
        """Opens stores, and refuses those that do not go together.

        Args:
            folders: Theirs, two at least.
            weights: As `TeacherWeights.of` takes them.
            combine: One of `WAYS`.

        Returns:
            The teachers.

        Raises:
            FileNotFoundError: There is no store in a folder.
            ValueError: The stores are of other texts, or a setting is not what is expected.
        """
        for folder in folders:
            if not is_store(folder):
                raise FileNotFoundError(
                    f"{folder} is one of several teachers, and has no store of scores. Of "
                    "several teachers each must be scored first, and none is loaded: python -m "
                    f"alm_lightning.score teacher=... scores.path={folder} windows.cut_bytes=250"
                )
        each = tuple(map(StoredScores, folders))
        _check_alike(each)
        labels = _labels([stored.name for stored in each])
        found = cls(each, labels, TeacherWeights.of(weights, labels), combine)
        twice = [n for n, times in Counter(s.store.identity for s in each).items() if times > 1]
        if twice:
            same = [str(s.folder) for s in each if s.store.identity in twice]
            log.warning(
                "several teachers have equal stores, %s: they are one teacher with the weights "
                "of all of them.",
                ", ".join(same),
            )
        return found

    @property
    def stores(self) -> tuple[StoreReader, ...]:
        """Of each the store."""
        return tuple(stored.store for stored in self.each)

    @property
    def name(self) -> str:
        """The teachers' names."""
        return " and ".join(self.labels)

    @property
    def licence(self) -> str:
        """The teachers' licences."""
        return "; ".join(f"{n}: {s.licence}" for n, s in zip(self.labels, self.each, strict=True))

    @property
    def identity(self) -> str:
        """Tells the stores apart from others, with their order."""
        return " ".join(stored.store.identity for stored in self.each)

    def load(self, side: str, device: str) -> StoredTeachers:
        """What takes the place of the teachers.

        Args:
            side: ``teacher``.
            device: Not read.

        Returns:
            The stored teachers.
        """
        teachers = tuple(stored.load(side, device) for stored in self.each)
        return StoredTeachers(teachers, self.labels, self.weights, self.combine)

    def check_objective(self, terms: Mapping[str, Objective]) -> None:
        """Refuses terms that read more than a store has, or than teachers have in common.

        Args:
            terms: The terms, by name.

        Raises:
            ValueError: A term reads something else.
        """
        for stored in self.each:
            stored.check_objective(terms)
        if self.combine == LOSSES:
            return
        for name, term in terms.items():
            if term.needs_teacher and (term.needs_hidden or term.needs_distributions):
                raise ValueError(
                    f"objective.{name} ({type(term).__name__}) reads more than likelihoods of "
                    f"chunks, and combine={self.combine} makes nothing else of several teachers. "
                    f"Take combine={LOSSES}, which works with all objectives, or "
                    "objective=alm_next_token."
                )


def is_store(folder: Path) -> bool:
    """Whether there is a store of scores in a folder, whole or not.

    Args:
        folder: Any path.

    Returns:
        Whether it has a store's files.
    """
    return any((folder / name).is_file() for name in (MANIFEST, PLAN))


def check_combine(combine: str, *, num_teachers: int) -> None:
    """Refuses a way to combine teachers that there is not, and one for a single teacher.

    Args:
        combine: What was given.
        num_teachers: How many teachers there are.

    Raises:
        ValueError: It is none of `WAYS`, or has nothing to combine.
    """
    if combine not in WAYS:
        raise ValueError(f"combine is {combine!r}: expected one of {', '.join(WAYS)}.")
    if num_teachers == 1 and combine != LOSSES:
        raise ValueError(
            f"combine is {combine!r}, and there is one teacher: expected {LOSSES!r}. Leave it out, "
            "or give a list of several stores of scores."
        )


def scored(folders: Sequence[Path], weights: object, combine: str) -> StoredScores | SeveralScores:
    """A teacher that was scored, or several.

    Args:
        folders: Of the stores, one at least.
        weights: As `TeacherWeights.of` takes them.
        combine: One of `WAYS`.

    Returns:
        The teachers; of one store, the teacher.

    Raises:
        FileNotFoundError: There is no whole store in a folder.
        ValueError: The stores are of other texts, or a setting is not what is expected.
    """
    check_combine(combine, num_teachers=len(folders))
    if len(folders) > 1:
        return SeveralScores.of(folders, weights, combine)
    stored = StoredScores(folders[0])
    # of one teacher every weight is 1
    TeacherWeights.of(weights, [stored.name])
    return stored


def _labels(names: Sequence[str]) -> tuple[str, ...]:
    """The last parts of names, since slashes part metrics; numbered where several are alike."""
    plain = [PurePosixPath(name).name for name in names]
    counts = Counter(plain)
    return tuple(
        f"{name} {plain[: place + 1].count(name)}" if counts[name] > 1 else name
        for place, name in enumerate(plain)
    )


def _check_alike(each: Sequence[StoredScores]) -> None:
    """Refuses stores of other texts."""
    first, *others = each
    plan = first.store.manifest.plan
    for other in others:
        theirs = other.store.manifest.plan
        if theirs.cut_bytes != plan.cut_bytes:
            raise ValueError(
                f"alm-score cut the texts of {first.folder} with "
                f"windows.cut_bytes={_null(plan.cut_bytes)}, and those of {other.folder} with "
                f"{_null(theirs.cut_bytes)}: they have no pieces "
                "in common. Score the corpus with one of them for both."
            )
        if plan.cut_bytes is None:
            raise ValueError(
                f"alm-score did not cut the texts of {first.folder} and {other.folder}, since its "
                "windows.cut_bytes was null. Where they are cut depends on the teacher then: "
                "several teachers have no pieces in common. Score the corpus with each, with "
                "alm-score and windows.cut_bytes=250, say; train.py takes the same."
            )
        if (theirs.documents, theirs.texts) != (plan.documents, plan.texts):
            raise ValueError(
                f"{first.folder} has scores of {plan.documents:,} documents of "
                f"{', '.join(plan.corpus)}, and {other.folder} of {theirs.documents:,} of "
                f"{', '.join(theirs.corpus)}, which are not the same texts. Score one corpus with "
                "each teacher, with equal corpus, corpus_other and scores.documents."
            )


def _null(value: object) -> object:
    return "null" if value is None else value
