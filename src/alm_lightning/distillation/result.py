"""What the library gives back: the student, its tokenizer, and what was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from alm_lightning.distillation.export import export_student
from alm_lightning.distillation.models import ModelInput, TeacherInput
from alm_lightning.distillation.outputs import is_first_process
from alm_lightning.distillation.rows import TeacherRows
from alm_lightning.export.card import Value
from alm_lightning.models.pair import Scorer


@dataclass(frozen=True, kw_only=True)
class DistillResult:
    """A trained student.

    Attributes:
        scorer: The student with the project's view of its tokenizer.
        metrics: The figures of the run, as summary.json has them: ``bits_per_byte`` of ``teacher``,
            ``student_before`` and ``student_after``, ``chunk_difference`` (nats), ``gap_closed``,
            ``chunks``, ``steps``, ``seconds``, ... What ends in ``_other`` is of `other_data`.
        base: The model that the student started as.
        teacher: The model that taught.
        terms: Names of the terms of the loss.
        recipe: The settings of the run.
        teacher_rows: How many rows of embeddings `save` writes for a student that was moved to its
            teacher's vocabulary; None for another one, which is saved as it is.
    """

    scorer: Scorer = field(repr=False)
    metrics: Mapping[str, Any]
    base: ModelInput = field(repr=False)
    teacher: TeacherInput = field(repr=False)
    terms: Sequence[str]
    recipe: Mapping[str, Value] = field(repr=False)
    teacher_rows: TeacherRows | None = field(default=None, repr=False)

    @property
    def student(self) -> PreTrainedModel:
        """The trained model."""
        return self.scorer.model

    @property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """Its tokenizer."""
        return self.scorer.view.hf

    def save(self, folder: str | Path, *, dtype: str = "bfloat16") -> Path:
        """Writes the student as a folder that transformers loads, with a model card.

        `AutoTokenizer` and `AutoModelForCausalLM` read it; a byte student needs
        ``trust_remote_code=True``, for its code is in the folder. With several devices, only the
        process of rank 0 writes; the others return the path at once.

        Args:
            folder: Must not exist, or be empty.
            dtype: Of the weights on disk; ``float32`` keeps every digit.

        Returns:
            The folder.

        Raises:
            FileExistsError: The folder holds something.
        """
        path = Path(folder).expanduser()
        if not is_first_process():
            return path
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        if path.exists():
            raise FileExistsError(
                f"{path} exists and is not empty; nothing is written over. Choose another folder."
            )
        return export_student(
            self.scorer,
            path,
            base=self.base,
            teacher=self.teacher,
            terms=self.terms,
            recipe=self.recipe,
            summary=self.metrics,
            dtype=dtype,
            teacher_rows=self.teacher_rows,
        )
