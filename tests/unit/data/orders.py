"""What a loader gives, step by step, so that orders can be compared."""

import numpy as np
from torch.utils.data import DataLoader

from alm_lightning.alignment.boundaries import Finest
from alm_lightning.corpus.document import BadDocument, Document
from alm_lightning.data.pairing import Pairing
from alm_lightning.data.sampler import Steps


class RefusesSome:
    """An alignment that meets documents which can't be paired: those with 'bad' in them."""

    def fitted(self, *, student, teacher, documents):
        return self

    def select(self, ends):
        if b"bad" in ends.content:
            raise BadDocument(f"{ends.content.decode()}: can't be paired", kind="bad chat")
        return np.ones(len(ends.positions), dtype=bool)


def make_pairing(views, on_bad=None, alignment=None, **changes):
    settings = {"student_length": 40, "teacher_length": 40} | changes
    return Pairing(
        student=views["bytes"],
        teacher=views["metaspace"],
        alignment=Finest() if alignment is None else alignment,
        on_bad=on_bad,
        **settings,
    )


def documents(count, start=0):
    return [Document(f"text number {number}.", name=str(number)) for number in range(start, count)]


def texts_by_step(windows, *, num_workers=0, **changes):
    """The text of each window of each step; None for a document that is left out."""
    settings = {
        "batch_size": 4,
        "first_step": 0,
        "num_steps": 9,
        "seed": 3,
        "rank": 0,
        "world_size": 1,
    }
    arguments = windows.loader_arguments(Steps(**settings | changes))
    loader = DataLoader(**arguments, collate_fn=_texts, num_workers=num_workers)
    return list(loader)


def _texts(rows):
    return [row and bytes(row.student.ids.tolist()).decode(errors="replace") for row in rows]
