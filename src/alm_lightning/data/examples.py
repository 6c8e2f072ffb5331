"""Data sets of windows: documents tokenized twice, and cut to the length of a sequence."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from torch.utils.data import Dataset

from alm_lightning.corpus.sources.source import AnyDocument
from alm_lightning.data.pairing import Pairing
from alm_lightning.data.sampler import Steps, StepSampler
from alm_lightning.data.windows import Window

TRIED = 100
"""Documents that are tried for a window before a run starts; a short one may hold no chunk."""


class InSteps(Dataset[Window | None]):
    """A data set with numbered items, in an order that is a function of the step."""

    def __len__(self) -> int:
        """Number of items."""
        raise NotImplementedError

    def loader_arguments(self, steps: Steps) -> dict[str, Any]:
        """What a `DataLoader` needs to give the items of each step.

        Args:
            steps: Which steps, and which rank's share of them.

        Returns:
            Keyword arguments.
        """
        return {"dataset": self, "batch_sampler": StepSampler(steps, num_items=len(self))}


class AllWindows(InSteps):
    """Every window of every document, paired beforehand: for a corpus that fits into memory."""

    def __init__(
        self, documents: Sequence[AnyDocument], *, pairing: Pairing, name: str = "training"
    ):
        """Pairs the documents.

        Args:
            documents: The documents.
            pairing: How a document becomes windows.
            name: What an error calls them.
        """
        self.items: list[Window] = []
        for document in documents:
            self.items += pairing.windows(document)
        if not self.items:
            raise no_window(len(documents), name)

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.items)

    def __getitem__(self, index: int) -> Window:
        """One window, by its place in the corpus."""
        return self.items[index]


class FirstWindow(InSteps):
    """The first window of each document, paired when it is asked for, in the loader's workers.

    This is the truncation of the published recipes, and starts at once on a corpus of any size.
    """

    def __init__(self, documents: Sequence[AnyDocument], *, pairing: Pairing):
        """Keeps the documents.

        Args:
            documents: The documents, none empty.
            pairing: How a document becomes windows.
        """
        self.documents, self.pairing = documents, pairing
        # a length that no chunk fits is an error now, and not one of a worker later
        check_some_window(islice(iter(documents), TRIED), pairing)

    def __len__(self) -> int:
        """Number of documents."""
        return len(self.documents)

    def __getitem__(self, index: int) -> Window | None:
        """The start of one document; None if it has to be left out."""
        return self.pairing.first_window(self.documents[index])


def check_some_window(documents: Iterator[AnyDocument], pairing: Pairing) -> None:
    """Refuses documents of which none gives a window.

    Args:
        documents: A few of those to train on.
        pairing: How a document becomes windows.

    Raises:
        ValueError: None does.
    """
    number = 0
    for number, document in enumerate(documents, start=1):  # noqa: B007 (the last one counts)
        if pairing.first_window(document) is not None:
            return
    raise no_window(number)


def no_window(num_documents: int, name: str = "training") -> ValueError:
    """The error for documents that leave nothing to train on.

    Args:
        num_documents: How many there were.
        name: What they are for: ``training``, or an evaluation set.

    Returns:
        The error.
    """
    return ValueError(
        f"{name}: {num_documents} documents gave no window: each is left out as bad, holds no text "
        "that is trained on, or no chunk of it fits a sequence. Raise student_length and "
        "teacher_length, or check the corpus and chat.trained (chats that nobody has answered, as "
        "prompts of on_policy, need chat.trained=all)."
    )
