"""A tiny student's own answers, for the tests of this folder."""

import numpy as np
from tests.unit.training.on_policy.test_settings import SETTINGS

from alm_lightning.alignment.answer import Answer
from alm_lightning.alignment.boundaries import Finest
from alm_lightning.corpus.chat import Chat
from alm_lightning.corpus.document import Document
from alm_lightning.data.pairing import ChatSettings, Pairing
from alm_lightning.training.on_policy import OnPolicy, OwnAnswers, Prompts

TEXTS = [Document(f"The quick brown fox number {n} jumps over.", name=str(n)) for n in range(8)]
CHATS = [
    Chat.of(
        [
            {"role": "user", "content": f"What is {number} plus {number}?"},
            {"role": "assistant", "content": f"It is {2 * number}."},
        ],
        str(number),
    )
    for number in range(8)
]


def settings(**changes):
    return OnPolicy(**(SETTINGS | {"begins": 0.0, "rises": 0.0} | changes))


def pairing_of(scorers, length=96):
    student, teacher = scorers
    return Pairing(
        student=student.view,
        teacher=teacher.view,
        alignment=Finest(),
        student_length=length,
        teacher_length=length,
        chat=ChatSettings(
            trained="assistant", system="own", student_template=None, teacher_template=None
        ),
    )


def prompts_of(scorers, documents=TEXTS, **changes):
    chosen = settings(**changes)
    return Prompts(
        documents,
        pairing=pairing_of(scorers),
        prompt_bytes=chosen.prompt_bytes,
        max_new_tokens=chosen.max_new_tokens,
    )


class Babbling:
    """Says letters at random: what a tiny model says is hardly ever valid UTF-8."""

    def __init__(self, student, length):
        self.length, self.stop_id = length, student.view.id_of("eos")

    def __call__(self, prompts, *, seed):
        generator = np.random.default_rng(seed)
        letters = np.frombuffer(b"abc d.", np.uint8).astype(np.int64)
        stops = [None, self.stop_id]
        return [
            Answer(generator.choice(letters, self.length), stops[generator.integers(2)])
            for _ in prompts
        ]


def own_answers(scorers, collator, documents=TEXTS, *, batch_size=4, num_steps=12, **changes):
    chosen = settings(**changes)
    return OwnAnswers(
        chosen,
        prompts=prompts_of(scorers, documents, **changes),
        engine=Babbling(scorers[0], chosen.max_new_tokens),
        collator=collator,
        batch_size=batch_size,
        num_steps=num_steps,
        seed=0,
    )
