"""Aligned texts with everything that can be drawn, made by hand: no chunk is left to chance."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from alm_lightning.alignment.aligned import AlignedText
from alm_lightning.inspection.build import report_of
from alm_lightning.tokenization.bytes.view import byte_view


def ints(*values):
    return np.array(values, dtype=np.int32)


@pytest.fixture(scope="session")
def chat_views():
    """The byte tokenizer with marks of turns, and the same with an unknown token among them."""
    student = byte_view(other_specials=["<|im_start|>", "<|im_end|>", "[UNK]"])
    # ids: 256 bos, 257 eos, 258 pad, 259 <|im_start|>, 260 <|im_end|>, 261 [UNK]
    hf = SimpleNamespace(unk_token_id=student.special_ids["[UNK]"])
    # beartype checks the class of hf where a view is made, so the double goes in afterwards
    object.__setattr__(student, "hf", hf)
    return student, byte_view(other_specials=["<turn>", "<end>"])


@pytest.fixture(scope="session")
def chat():
    """A chat: BOS on one side, a user's turn untrained, an assistant's trained, a rest at the end.

    Student: <im_start> h i | ? [UNK] | o k <im_end> \xc3
    Teacher: <bos> <turn> h i ? x o k <end> \xa9
    """
    return AlignedText(
        content="hi?xoké".encode(),
        student_ids=ints(259, 104, 105, 63, 261, 111, 107, 260, 195),
        teacher_ids=ints(256, 259, 104, 105, 63, 120, 111, 107, 260, 169),
        student_chunk_ids=ints(0, 1, 1, 2, -1, 3, 4, 5, -1),
        teacher_chunk_ids=ints(-1, 0, 1, 1, 2, -1, 3, 4, 5, -1),
        student_trained=np.array([0, 0, 0, 0, 0, 1, 1, 1, 1], dtype=bool),
        chunk_starts=ints(0, 0, 2, 4, 5, 6),
        chunk_ends=ints(0, 2, 3, 5, 6, 6),
        trained=np.array([0, 0, 0, 1, 1, 1], dtype=bool),
        rewritten_bytes=0,
        outside_bytes={"unknown": 1, "structure": 0, "tail": 2},
        is_chat=True,
    )


@pytest.fixture
def chat_report(chat, chat_views):
    student, teacher = chat_views
    return report_of(
        chat,
        student=student,
        teacher=replace(teacher, name="t<b>", losses=("one & two",)),
        title="</style><script>",
        alignment="finest",
        most=99,
    )
