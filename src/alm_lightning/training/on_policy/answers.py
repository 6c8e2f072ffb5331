"""The student's own answers in the batches of a step."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import distributed

from alm_lightning.alignment.answer import Answer
from alm_lightning.data.batch import DistillBatch
from alm_lightning.data.collator import Collator
from alm_lightning.data.regroup import joined, regrouped, rows_of, windows_in
from alm_lightning.data.windows import Window, windows
from alm_lightning.training.on_policy.engines import Engine
from alm_lightning.training.on_policy.prompts import Prompts
from alm_lightning.training.on_policy.settings import OnPolicy

log = logging.getLogger(__name__)

ROUNDING, SAMPLING, GIVING_WAY = 1, 2, 3
"""What random numbers are for: with one seed, each has a stream of its own."""

Sampled = list[tuple[int, Answer]]
"""The answers of a step, each with the place of its prompt."""


class AnswerCounts(NamedTuple):
    """What was sampled for a step.

    Attributes:
        num_answers: How many answers.
        num_ended: Those that stopped by themselves.
        num_tokens: Their tokens, in all.
        num_unusable: Those of which nothing can be trained on.
    """

    num_answers: int = 0
    num_ended: int = 0
    num_tokens: int = 0
    num_unusable: int = 0


class OwnAnswers:
    """Puts the student's own answers in the place of some sequences of a step.

    What is sampled is a function of the seed, the step, the rank and the weights, so that a run
    that goes on from a checkpoint, which has the answers that are not used yet, samples the same.

    Args:
        settings: How many, and how they are sampled.
        prompts: What is to be answered.
        engine: Samples.
        collator: Makes batches of windows.
        batch_size: Sequences of a step, over all ranks.
        num_steps: Steps of the run.
        seed: Of prompts and answers.
        world_size: Processes of the run.

    Attributes:
        rank: Which of them this is.
        counts: Of the last step's answers, on this rank.
        while_sampling: What is entered to sample, on all ranks at once.
    """

    def __init__(
        self,
        settings: OnPolicy,
        *,
        prompts: Prompts,
        engine: Engine,
        collator: Collator,
        batch_size: int,
        num_steps: int,
        seed: int,
        world_size: int = 1,
    ):
        self.settings, self.prompts, self.engine = settings, prompts, engine
        self.collator, self.num_steps, self.seed = collator, num_steps, seed
        self.rank, self.num_windows, self.world_size = 0, batch_size // world_size, world_size
        self.counts = AnswerCounts()
        self.while_sampling: Callable[[], AbstractContextManager[None]] = nullcontext
        self._sampled: dict[int, Sampled] = {}
        self._said_unusable, self._said_cut = False, False

    def mixed(self, batches: Sequence[DistillBatch], step: int) -> list[DistillBatch]:
        """The micro-batches of a step, some of whose rows have given way to answers.

        Args:
            batches: As the loader gives them.
            step: Steps that are done.

        Returns:
            Batches of about as many rows; the same ones where the step has no answer.
        """
        self.counts = AnswerCounts()
        if not self._number(step, self.num_windows):
            return list(batches)
        if step not in self._sampled:
            self._sample(step)
        if not batches:
            # this rank has no share in the step; it has sampled since others may wait for it there
            del self._sampled[step]
            return []
        device, hosts = batches[0].chunk_mask.device, [batch.host for batch in batches]
        found = [self.window(place, answer) for place, answer in self._sampled[step]]
        own = [window for window in found if window is not None]
        self.counts = _counts(self._sampled.pop(step), own)
        if not own and not self._said_unusable:
            self._said_unusable = True
            log.warning(
                "of %d answers of step %d none can be learned from: they are no valid text, or too "
                "long for the teacher. This is said once.",
                self.counts.num_answers,
                step,
            )
        kept = self._kept(joined(hosts), step)
        answered = self.collator(own) if own else []
        # of what it has said itself the student learns nothing by likelihood alone
        untargeted = [
            replace(
                batch,
                student_targets=torch.zeros_like(batch.student_targets),
                own_rows=torch.ones_like(batch.own_rows),
            )
            for batch in answered
        ]
        parts = [*kept, *untargeted]
        if not parts:
            return []
        groups = regrouped(joined(parts), self.collator.micro_batch_size)
        return [group.to(device, non_blocking=True) for group in groups]

    def window(self, place: int, answer: Answer) -> Window | None:
        """An answer with its prompt, aligned.

        Args:
            place: Of the prompt.
            answer: What was sampled.

        Returns:
            A window; None where nothing of the answer can be trained on.
        """
        asked, pairing = self.prompts.asked(place), self.prompts.pairing
        answer = answer.usable(pairing.student)
        aligned = asked.align(answer, alignment=pairing.alignment)
        if not aligned.trained.any():
            return None
        found = windows(
            aligned,
            student_length=pairing.student_length,
            teacher_length=pairing.teacher_length,
            name=asked.name,
            continues=not asked.ends_with(answer),
        )
        first = next(iter(found), None)
        start = asked.window_ids
        # a window that begins later would be without the prompt
        if first is None or not np.array_equal(first.student.ids[: len(start)], start):
            return None
        # what follows an answer in a chat may not fit the student's length; the answer does
        is_cut = len(first.student.ids) < len(start) + len(answer.ids)
        if is_cut and not self._said_cut:
            self._said_cut = True
            log.warning(
                "%s: an answer of %d tokens takes more of the teacher than budget.teacher_length="
                "%d leaves beside its prompt: its end is not learned from. Raise it, or lower "
                "on_policy.max_new_tokens. This is said once.",
                asked.name,
                len(answer.ids),
                pairing.teacher_length,
            )
        return first

    def _number(self, step: int, num_windows: int) -> int:
        """How many of so many sequences are answers: rounded by chance, right in the mean."""
        share = self.settings.share_at(step / self.num_steps)
        # on all ranks the same
        chance = np.random.default_rng([self.seed, step, 0, ROUNDING]).random()
        return int(share * num_windows + chance)

    def _sample(self, step: int) -> None:
        """Samples the answers of this step and of the `every` - 1 steps after it."""
        steps = range(step, min(step + self.settings.every, self.num_steps))
        generator = np.random.default_rng([self.seed, step, self.rank, SAMPLING])
        places = {
            each: [
                self.prompts.draw(generator) for _ in range(self._number(each, self.num_windows))
            ]
            for each in steps
        }
        prompts = [self.prompts.asked(p).ids for own in places.values() for p in own]
        with self.while_sampling():
            answers = iter(self.engine(prompts, seed=int(generator.integers(2**31))))
        self._sampled = {each: [(p, next(answers)) for p in own] for each, own in places.items()}

    def _kept(self, batch: DistillBatch, step: int) -> list[DistillBatch]:
        """The batch without the rows that answers stand for, drawn over all lengths."""
        generator = np.random.default_rng([self.seed, step, self.rank, GIVING_WAY])
        held = windows_in(batch).tolist()
        missing = self._number(step, sum(held))
        kept = []
        for row in generator.permutation(len(held)).tolist():
            # a packed row that holds more than is to go does so by chance, right in the mean
            if missing > 0 and generator.random() * held[row] < missing:
                missing -= held[row]
            else:
                kept.append(row)
        return [rows_of(batch, sorted(kept))] if kept else []

    def states(self) -> list[dict[str, Any]]:
        """The answers that are not used yet, of each rank, as plain values. All ranks must call."""
        own = {
            str(step): [[place, answer.ids.tolist(), answer.stop_id] for place, answer in sampled]
            for step, sampled in self._sampled.items()
        }
        if not (distributed.is_available() and distributed.is_initialized()):
            return [own]
        states: list[dict[str, Any]] = [{}] * distributed.get_world_size()
        distributed.all_gather_object(states, own)
        return states

    def load_states(self, states: Sequence[Mapping[str, Any]], rank: int) -> None:
        """Takes answers up that an earlier run has sampled.

        Args:
            states: From `states`. Where there were other ranks, the answers are sampled anew.
            rank: Which process this is.
        """
        if len(states) != self.world_size:
            log.warning(
                "the checkpoint has answers of %d processes, and this run has %d: they are "
                "sampled again, with the weights of the checkpoint",
                len(states),
                self.world_size,
            )
            return
        self._sampled = {
            int(step): [(place, Answer(np.array(ids, np.int64), stop)) for place, ids, stop in own]
            for step, own in states[rank].items()
        }


def _counts(sampled: Sampled, own: Sequence[Window]) -> AnswerCounts:
    """Counts a step's answers."""
    answers = [answer for _, answer in sampled]
    return AnswerCounts(
        num_answers=len(answers),
        num_ended=sum(answer.stop_id is not None for answer in answers),
        num_tokens=sum(len(answer.ids) for answer in answers),
        num_unusable=len(answers) - len(own),
    )
