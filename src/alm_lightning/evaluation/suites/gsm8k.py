"""Word problems whose answer is a number: does a model reach it, and how likely is the solution?"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from alm_lightning.corpus.chat import Chat
from alm_lightning.corpus.document import CorpusError
from alm_lightning.evaluation.estimates import ratio, share
from alm_lightning.evaluation.evaluated_model import EvaluatedModel
from alm_lightning.evaluation.generation.prompts import Prompt, prompt_ids
from alm_lightning.evaluation.generation.sampling import Sampling
from alm_lightning.evaluation.generation.texts import generate_texts
from alm_lightning.evaluation.harness import Record, Result, chats_of
from alm_lightning.evaluation.scoring import Row, score_rows
from alm_lightning.evaluation.suites.continuations import (
    Continuation,
    last_content,
    text_continuation,
)
from alm_lightning.evaluation.suites.final_figure import final_figure, spelled_figure
from alm_lightning.evaluation.suites.problems import Columns, Problem, read_problems
from alm_lightning.evaluation.texts import digest
from alm_lightning.tokenization.chat.choice import template_of

log = logging.getLogger(__name__)

QUESTION, ANSWER, BETWEEN = "Question: ", "\nAnswer:", "\n\n"
"""What a plain prompt has around questions and answers."""
SHOWN = 5
"""Problems whose texts are part of the result."""


@dataclass(frozen=True, eq=False)
class _Question:
    """A problem, as one model reads it."""

    problem: Problem
    prompt: Prompt
    prompt_ids: Sequence[int]
    reference: Continuation
    num_bytes: int
    """Of the reference answer as it is scored: without what a template strips off."""


class Gsm8k:
    """Exact match of the final figure, and bits per byte of the reference answers.

    Plain prompts are ``Question: ...``, ``Answer:``, and the answer follows after a space, which is
    scored as its first byte; what a model writes ends where it would ask the next question. In a
    chat the question is the user's turn, and the reference is scored as the assistant's.

    Reference: Cobbe et al. (2021), arXiv:2110.14168.

    Args:
        path: One problem a line, plain or compressed (``.jsonl.gz``).
        question_column: The column of questions.
        answer_column: The column of reference answers.
        figure_column: A column of final figures; None where they are part of the answers.
        mark: What stands before a final figure; None for what a box holds, or the last number.
        limit: How many problems to take, from the front; None for all.
        chat: Whether questions are asked in the tokenizer's chat template.
        fewshot: How many solved problems a prompt begins with.
        fewshot_path: The file whose first problems they are.
        max_new_tokens: The most tokens that a model may write.
        max_new_bytes: The most bytes: the same length for any tokenizer.
        batch_size: Problems that are answered at once, and written together.
    """

    def __init__(
        self,
        *,
        path: str,
        question_column: str,
        answer_column: str,
        figure_column: str | None,
        mark: str | None,
        limit: int | None,
        chat: bool,
        fewshot: int,
        fewshot_path: str | None,
        max_new_tokens: int | None,
        max_new_bytes: int | None,
        batch_size: int,
    ):
        for name, value in {"limit": limit, "batch_size": batch_size}.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value} (harness.gsm8k.{name}): expected at least 1.")
        if fewshot < 0 or (fewshot and fewshot_path is None):
            raise ValueError(
                f"fewshot is {fewshot} and fewshot_path {fewshot_path} (of harness.gsm8k): "
                "expected 0, or a file of solved problems that is not the one to evaluate on."
            )
        self.path, self.limit, self.chat, self.batch_size = path, limit, chat, batch_size
        self.columns = Columns(question_column, answer_column, figure_column, mark)
        self.fewshot, self.fewshot_path = fewshot, fewshot_path
        self.sampling = Sampling(max_new_tokens, max_new_bytes)
        self.problems: dict[str, Problem] = {}
        self.solved: list[Problem] = []

    def prepare(self) -> Sequence[str]:
        """Reads the problems and the few-shot examples.

        A key is the line of a problem, and hashes of it and of the examples.
        """
        found = read_problems(Path(self.path).expanduser(), self.columns, self.limit)
        if self.fewshot:
            path = Path(str(self.fewshot_path)).expanduser()
            self.solved = read_problems(path, self.columns, self.fewshot)
            if len(self.solved) < self.fewshot:
                raise CorpusError(
                    f"fewshot is {self.fewshot} (harness.gsm8k.fewshot), but {path} holds "
                    f"{len(self.solved)} problems. Take fewer, or another file."
                )
            asked = {problem.question for problem in found}
            if known := sum(problem.question in asked for problem in self.solved):
                raise CorpusError(
                    f"{known} of the {self.fewshot} solved problems of {path} "
                    f"(harness.gsm8k.fewshot_path) are among those of {self.path}, which would be "
                    "asked with their solution before them. Take solved problems of another "
                    "split, such as the training set."
                )
            # answers depend on what a prompt begins with
            shots = digest("\n".join(problem.key for problem in self.solved))
            found = [replace(problem, key=f"{problem.key}:{shots}") for problem in found]
        self.problems = {problem.key: problem for problem in found}
        return list(self.problems)

    def records(
        self, evaluated: EvaluatedModel, keys: Sequence[str]
    ) -> Iterator[tuple[str, Record]]:
        """Generates answers, and scores the reference answers.

        Yields the answer, its final figure, and the nats of the reference answer. A ValueError says
        that a problem is longer than the model's context.
        """
        # all of them first, so that one that does not fit is refused before any is answered
        questions = [self._question(evaluated, self.problems[key]) for key in keys]
        stops = () if self.chat else (f"\n{QUESTION.rstrip()}",)
        for start in range(0, len(keys), self.batch_size):
            chosen = questions[start : start + self.batch_size]
            written = generate_texts(
                evaluated,
                [each.prompt_ids for each in chosen],
                self.sampling,
                stops,
                batch_size=self.batch_size,
            )
            rows = [Row(each.reference.ids, each.reference.first) for each in chosen]
            nats = {index: -float(found.sum()) for index, found in score_rows(evaluated, rows)}
            for place, (each, answer) in enumerate(zip(chosen, written, strict=True)):
                figure = final_figure(answer.text, self.columns.mark)
                yield (
                    each.problem.key,
                    {
                        "question": each.problem.question,
                        "prompt": each.prompt,
                        "answer": answer.text,
                        "figure": spelled_figure(figure),
                        "reference_answer": each.problem.answer,
                        "reference": spelled_figure(each.problem.figure),
                        "right": figure == each.problem.figure,
                        "stopped": answer.stopped,
                        "answer_tokens": answer.num_tokens,
                        "nats": nats[place],
                        "num_bytes": each.num_bytes,
                    },
                )
        crossing = sum(each.reference.crosses for each in questions)
        if crossing:
            log.info(
                "%s: in %d of %d reference answers the first or last token spells text beside the "
                "answer as well; all of its nats count for the answer",
                evaluated.name,
                crossing,
                len(questions),
            )

    def _question(self, evaluated: EvaluatedModel, problem: Problem) -> _Question:
        if self.chat:
            turns = [
                {"role": role, "content": text}
                for each in self.solved
                for role, text in (("user", each.question), ("assistant", each.answer))
            ]
            prompt: Prompt = [*turns, {"role": "user", "content": problem.question}]
            whole = Chat.of(
                [*prompt, {"role": "assistant", "content": problem.answer}], problem.name
            )
            rendering = template_of(evaluated.view, None).render(whole)
            reference = last_content(evaluated.view, rendering, problem.name)
            spelled = rendering.contents[-1]
        else:
            solved = (
                f"{QUESTION}{each.question}{ANSWER} {each.answer}{BETWEEN}" for each in self.solved
            )
            prompt = f"{''.join(solved)}{QUESTION}{problem.question}{ANSWER}"
            spelled = f" {problem.answer}"
            reference = text_continuation(
                evaluated.view, prompt, spelled, problem.name, always_start=True
            )
        ids = prompt_ids(evaluated, prompt, name=problem.name)
        longest = max(len(reference.ids), len(ids) + 1)
        if longest > evaluated.context_length:
            raise ValueError(
                f"{problem.name} has {longest:,} tokens with its prompt, but {evaluated.name} "
                f"reads at most {evaluated.context_length:,}. Lower fewshot "
                f"(harness.gsm8k.fewshot, it is {self.fewshot}), or leave out long problems."
            )
        return _Question(problem, prompt, ids, reference, len(spelled.encode("utf-8")))

    def result(self, records: Mapping[str, Record]) -> Result:
        """Exact match, bits per byte of reference answers, share of answers that ended; samples."""
        all_records = list(records.values())
        bits = np.array([record["nats"] / math.log(2) for record in all_records])
        num_bytes = np.array([record["num_bytes"] for record in all_records])
        stopped = share(np.array([record["stopped"] for record in all_records]), "share")
        figures = {
            "exact_match": share(np.array([record["right"] for record in all_records])),
            "answer_bits_per_byte": ratio(bits, num_bytes, "bits/byte", lower_is_better=True),
            # neither is better than the other
            "stopped": replace(stopped, lower_is_better=None),
        }
        shown = ("prompt", "answer", "figure", "reference", "right", "stopped")
        samples = [{name: record[name] for name in shown} for record in all_records[:SHOWN]]
        # what comes before the question are solutions that others have written
        asked = [r for r in all_records if not isinstance(r["prompt"], str)]
        chats = chats_of((r["prompt"][-1:], r["answer"], r["stopped"]) for r in asked)
        return Result(figures, samples=samples, chats=chats)
