"""What an objective may know of a pair before the first step."""

from dataclasses import dataclass

from alm_lightning.tokenization.view import TokenizerView


@dataclass(frozen=True)
class SideFacts:
    """One side of a pair.

    Attributes:
        view: Its tokenizer: which bytes each id stands for.
        hidden_size: Channels of its last hidden states.
        embedding_size: Channels of its input embeddings.
    """

    view: TokenizerView
    hidden_size: int
    embedding_size: int


@dataclass(frozen=True)
class PairFacts:
    """A student and its teacher.

    Attributes:
        student: The student's side.
        teacher: The teacher's side.
    """

    student: SideFacts
    teacher: SideFacts
