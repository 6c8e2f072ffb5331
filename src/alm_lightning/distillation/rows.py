"""How many rows of embeddings a student is exported with."""

from dataclasses import dataclass

from alm_lightning.counterparts import is_same_vocabulary
from alm_lightning.distillation.models import PairPlan
from alm_lightning.models.pair import Scorer
from alm_lightning.models.vocabulary import NewVocabulary
from alm_lightning.scores.ensemble import StoredTeachers, Teaching


@dataclass(frozen=True)
class TeacherRows:
    """The rows of a teacher whose vocabulary the student was moved to.

    Such a student may draft for its teacher, and engines ask for as many rows. It is trained
    without them: no loss reads rows that no token has, and what training leaves is padded.

    Attributes:
        number: Padding included; None where a store stands for the teacher, which does not say.
    """

    number: int | None

    @classmethod
    def of(cls, pair: PairPlan, student: Scorer, teacher: Teaching) -> "TeacherRows | None":
        """The rows of the teacher of a run.

        Args:
            pair: How student and teacher were made.
            student: The student.
            teacher: The teacher, or several.

        Returns:
            None where the student keeps the rows that it has: its vocabulary is none of a
            teacher's, or the one that it always had.
        """
        if not isinstance(pair.embeddings, NewVocabulary):
            return None
        each = teacher.each if isinstance(teacher, StoredTeachers) else (teacher,)
        if not any(is_same_vocabulary(student.view, one.view) for one in each):
            return None
        if not isinstance(teacher, Scorer):
            return cls(None)
        return cls(teacher.model.get_output_embeddings().weight.shape[0])
