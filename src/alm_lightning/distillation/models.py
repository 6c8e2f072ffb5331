"""The two models of a run: where they come from, and the student made of one of them."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from alm_lightning.alignment.text import uncovered
from alm_lightning.distillation.stores import SeveralScores, StoredScores
from alm_lightning.models.adapters import FullFineTuning, LowRank
from alm_lightning.models.generation import check_usable
from alm_lightning.models.loading import check_pair, load_model, torch_dtype
from alm_lightning.models.new_tokenizer import NewTokenizer
from alm_lightning.models.own_vocabulary import OwnVocabulary
from alm_lightning.models.pair import Scorer
from alm_lightning.models.speed import Speed
from alm_lightning.models.text_part import text_part
from alm_lightning.models.untrained import MANY, num_alike
from alm_lightning.models.vocabulary import BytesFromOldTokens
from alm_lightning.models.weights.sources import Place, WeightSource
from alm_lightning.scores.ensemble import StoredTeachers, Teaching
from alm_lightning.tokenization.fast import view_of
from alm_lightning.tokenization.specials.roles import stop_ids
from alm_lightning.tokenization.view import TokenizerView

log = logging.getLogger(__name__)


@runtime_checkable
class ModelInput(Protocol):
    """A model with its tokenizer, before it is loaded: `StoredModel`, `GivenModel`."""

    @property
    def name(self) -> str:
        """What errors, logs and model cards call it."""
        ...

    @property
    def licence(self) -> str:
        """Its licence, in a few words for the model card."""
        ...

    def load(self, side: str, device: str) -> Scorer:
        """The model, as ``student`` or ``teacher``; `device` is where it will compute."""
        ...


TeacherInput: TypeAlias = ModelInput | StoredScores | SeveralScores
"""Whoever teaches, before anything large is read."""


@dataclass(frozen=True, kw_only=True)
class StoredModel:
    """A model in a folder, a package or on the hub.

    Attributes:
        name: What errors, logs and model cards call it.
        licence: Its licence, in a few words.
        source: Where weights and tokenizer are.
        dtype: Of the weights as loaded; ``auto`` is bfloat16 where the device multiplies it.
        attention: As transformers names it; None for sdpa, or eager where the model has no sdpa.
    """

    name: str
    licence: str
    source: WeightSource
    dtype: str = "auto"
    attention: str | None = None

    def load(self, side: str, device: str) -> Scorer:
        """Loads weights and tokenizer, onto the CPU.

        Args:
            side: ``student`` or ``teacher``.
            device: Where the model will compute, which chooses the type of ``auto``.

        Returns:
            The scorer.
        """
        log.info("%s: %s", side, self.source.describe())
        model, view = load_model(
            self.source,
            name=self.name,
            dtype=torch_dtype(self.dtype, device),
            attn_implementation=self.attention,
        )
        return Scorer(model, view)


@dataclass(frozen=True, kw_only=True)
class GivenModel:
    """A model that is in memory already, with its tokenizer.

    Attributes:
        name: What errors, logs and model cards call it.
        licence: Its licence, in a few words.
        model: A causal language model of transformers.
        tokenizer: Its tokenizer.
    """

    name: str
    licence: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast

    def load(self, side: str, device: str) -> Scorer:
        """The model as it is, where it is.

        Args:
            side: ``student`` or ``teacher``.
            device: Not read.

        Returns:
            The scorer.
        """
        view = view_of(self.tokenizer, name=self.name)
        check_pair(self.model, view.num_tokens, self.name)
        return Scorer(text_part(self.model), view)


@dataclass(frozen=True, kw_only=True)
class PairPlan:
    """How student and teacher are made.

    Attributes:
        student: The model that the student starts as.
        teacher: The model that teaches, or a store of what it said, or several.
        differences: Settings in which the two differ; none if they are one model, loaded once.
        tokenizer: From the old tokenizer to the student's.
        embeddings: Makes the student from the model that it starts as.
        adapter: Which of its weights are trained.
        stop_tokens: Special tokens where generation stops, besides EOS, the end of a turn, and
            where the generation settings of the student's model do.
        speed: How the two compute.
    """

    student: ModelInput
    teacher: TeacherInput
    differences: Sequence[str]
    tokenizer: Callable[[TokenizerView], TokenizerView]
    embeddings: Callable[..., PreTrainedModel]
    adapter: FullFineTuning | LowRank
    stop_tokens: Sequence[str] = ()
    speed: Speed = field(default_factory=Speed)

    def __post_init__(self) -> None:
        """Refuses what does not go together, before anything is loaded.

        Raises:
            ValueError: The student is to share the body of another model; embeddings of bytes are
                for another tokenizer; new embeddings would not be trained.
        """
        if self.adapter.share_body and isinstance(self.teacher, StoredScores | SeveralScores):
            raise ValueError(
                "share_body=true, and the teacher is a store of scores, which has no weights to "
                "share. Take share_body=false."
            )
        if self.adapter.share_body and self.differences:
            raise ValueError(
                f"share_body=true, but the student starts as another model than the teacher: their "
                f"{' and '.join(self.differences)} differ. Take share_body=false, or the same "
                "model as the teacher (teacher=same)."
            )
        is_bytes = isinstance(self.embeddings, BytesFromOldTokens)
        if is_bytes and isinstance(self.tokenizer, NewTokenizer):
            raise ValueError(
                f"embeddings=bytes makes embeddings of bytes, and the student's tokenizer is to be "
                f"{self.tokenizer.name}. Take embeddings=fvt (or omp, mean, keep), or "
                "tokenizer=bytes; experiment=gemma_to_smollm2_tokenizer shows settings that go "
                "together."
            )
        is_own = isinstance(self.embeddings, OwnVocabulary)
        if isinstance(self.adapter, LowRank) and not self.adapter.train_embeddings and not is_own:
            raise ValueError(
                "train_embeddings=false freezes embeddings, and those of a student with a new "
                f"tokenizer ({type(self.embeddings).__name__}) are not trained yet. Take "
                "train_embeddings=true, or let the student keep its tokenizer, with tokenizer=own "
                "embeddings=own."
            )

    def check_places(self) -> None:
        """Refuses models and a tokenizer that are not where they should be, before text is read.

        Raises:
            FileNotFoundError: One of them is not there, with what would help.
        """
        places: dict[str, object] = {"student": self.student, "teacher": self.teacher}
        found = {side: getattr(each, "source", None) for side, each in places.items()}
        found["tokenizer"] = getattr(self.tokenizer, "source", None)
        for name, place in found.items():
            if isinstance(place, Place) and (reason := place.available()):
                raise FileNotFoundError(f"{name}: nothing to load: {reason}.")

    def build(self, device: str) -> tuple[Scorer, Teaching]:
        """Loads the teacher, and makes the student.

        Args:
            device: The accelerator of the run.

        Returns:
            Student and teacher.
        """
        self.speed.check(device)
        teacher = self.teacher.load("teacher", device)
        if isinstance(teacher, Scorer) and not self.differences:
            base = teacher
        else:
            base = self.student.load("student", device)
        loaded = [each for each in (base, teacher) if isinstance(each, Scorer)]
        # a student is made with the attention of the model that it starts as
        for model in {id(each): each.model for each in loaded}.values():
            self.speed.apply_loaded(model, device)
        view = self.tokenizer(base.view)
        stop_tokens = list(dict.fromkeys([*self.stop_tokens, *_own_stop_tokens(base)]))
        share_body = self.adapter.share_body
        model = self.embeddings(base.model, old=base.view, new=view, share_body=share_body)
        self.adapter.adapt(model)
        self.speed.apply(model, teacher.model if isinstance(teacher, Scorer) else None)
        stops = [view.id_of("eos"), *stop_ids(base.view, view, stop_tokens)]
        if view.end_of_turn_id is not None:
            # settings of base models often lack it, and an answer would go on with a next question
            stops.append(view.end_of_turn_id)
        model.generation_config.eos_token_id = list(dict.fromkeys(stops))
        check_usable(model.generation_config, self.student.name)
        log.info(
            "student: %s with tokenizer %s, %s trained of %s parameters, %s",
            self.student.name,
            view.name,
            f"{sum(p.numel() for p in model.parameters() if p.requires_grad):,}",
            f"{sum(p.numel() for p in model.parameters()):,}",
            "its body shared with the teacher" if share_body else "nothing shared",
        )
        for each in teacher.each if isinstance(teacher, StoredTeachers) else (teacher,):
            _warn_of_uncovered(view, each.view)
        _warn_of_untrained_end(model, view)
        return Scorer(model, view), teacher


def _own_stop_tokens(base: Scorer) -> list[str]:
    """Special tokens where a model's generation settings stop, besides its tokenizer's EOS.

    Other tokens there have no counterpart to be looked for, and are left out with a warning.
    """
    ends = base.model.generation_config.eos_token_id
    ends = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
    texts = {token_id: text for text, token_id in base.view.special_ids.items()}
    eos = base.view.roles.get("eos")
    lost = [each for each in ends if each not in texts and each != eos]
    if lost:
        log.warning(
            "the generation settings of %s stop at token ids %s, which are no special tokens of "
            "tokenizer %s: the student will not stop there.",
            base.view.name,
            lost,
            base.view.name,
        )
    return [texts[each] for each in ends if each in texts and each != eos]


def _warn_of_untrained_end(model: PreTrainedModel, view: TokenizerView) -> None:
    """Says where a student with a frozen output matrix can't learn the end of a turn."""
    matrix, end = model.get_output_embeddings().weight, view.end_of_turn_id
    if matrix.requires_grad or end is None or (number := num_alike(matrix, end)) < MANY:
        return
    log.warning(
        "the student's row of %s in the output matrix points where those of %s other tokens do: "
        "its model was never trained to say it. The matrix is frozen, so the student can't learn "
        "to end the answers of chats with it. Take train_embeddings=true "
        "(adapter.train_embeddings), adapter=full, or a student that was trained on chats.",
        next(text for text, token_id in view.special_ids.items() if token_id == end),
        f"{number:,}",
    )


def _warn_of_uncovered(student: TokenizerView, teacher: TokenizerView) -> None:
    lost = uncovered(student, teacher)
    if lost:
        log.warning(
            "tokenizers %s and %s have no chunk for parts of texts like these, which are not "
            "learned from. python -m alm_lightning.inspect shows where and why:\n  %s",
            student.name,
            teacher.name,
            "\n  ".join(lost),
        )
