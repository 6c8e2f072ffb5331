"""Tasks of EleutherAI's lm-eval, one record a task: `harness=lm_eval`."""

import logging
import math
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from alm_lightning.evaluation.evaluated_model import EvaluatedModel
from alm_lightning.evaluation.harness import Record, Result
from alm_lightning.evaluation.lm_eval.definition import definition
from alm_lightning.evaluation.lm_eval.figures import figures_of
from alm_lightning.evaluation.lm_eval.model import LmEvalModel
from alm_lightning.evaluation.lm_eval.settings import Writing, reads_bytes
from alm_lightning.evaluation.lm_eval.tasks import Tasks, find_tasks, needs_greedy

log = logging.getLogger(__name__)

SHOWN = 2
"""Documents of each generating task whose texts are part of the result."""


class LmEval:
    """What lm-eval makes of a model: its tasks, prompts and metrics, with their standard errors.

    Args:
        tasks: Names of tasks, groups or tags, patterns, or files of one task.
        include_path: A folder of tasks of one's own.
        num_fewshot: Solved examples before each question; None for what a task says.
        limit: Documents of each task, from the front; below 1 a share of them; None for all.
        chat: Whether prompts are written in the tokenizer's chat template.
        fewshot_as_multiturn: Whether examples are turns of their own in a chat.
        max_length: The most tokens that are read at once; None for the model's own context.
        batch_size: Texts that are generated at once. Batches that are scored are made by
            tokens.
        gen_kwargs: Settings of generation that count more than a task's.
        bytes_per_token: Bytes for each token of a task's limit of generation, for models that
            read bytes.
        bootstrap_iters: Draws for standard errors of metrics that are no means.
        seed: Of few-shot examples and sampled texts.
    """

    def __init__(
        self,
        *,
        tasks: str | Sequence[str],
        include_path: str | None,
        num_fewshot: int | None,
        limit: float | int | None,
        chat: bool,
        fewshot_as_multiturn: bool,
        max_length: int | None,
        batch_size: int,
        gen_kwargs: Mapping[str, object],
        bytes_per_token: float | int,
        bootstrap_iters: int,
        seed: int,
    ):
        self.names = [tasks] if isinstance(tasks, str) else list(tasks)
        if not self.names:
            raise ValueError(
                "tasks is empty (harness.lm_eval.tasks): expected names, as [arc_easy,blimp]."
            )
        if limit is not None and limit <= 0:
            raise ValueError(
                f"limit is {limit} (harness.lm_eval.limit): expected a number of documents, a "
                "share of them below 1, or None (null) for all."
            )
        if num_fewshot is not None and num_fewshot < 0:
            raise ValueError(f"num_fewshot is {num_fewshot}: expected 0 or more.")
        if max_length is not None and max_length < 2:
            raise ValueError(f"max_length is {max_length}: expected at least 2.")
        self.include_path = None if include_path is None else Path(include_path).expanduser()
        self.num_fewshot, self.limit, self.chat = num_fewshot, limit, chat
        self.fewshot_as_multiturn, self.max_length = fewshot_as_multiturn, max_length
        self.batch_size, self.gen_kwargs = batch_size, dict(gen_kwargs)
        self.writing, self.bootstrap_iters = Writing(bytes_per_token, seed), bootstrap_iters
        self.seed = seed
        self.loaded = Tasks({}, {})
        self.digests: dict[str, str] = {}

    def prepare(self) -> Sequence[str]:
        """Finds the tasks and loads their data; returns their names, with the members of groups."""
        self.loaded = find_tasks(self.names, self.include_path)
        for name, task in self.loaded.tasks.items():
            own = task.config.num_fewshot
            if self.num_fewshot is not None and own == 0 != self.num_fewshot:
                log.info("%s says itself that it takes no examples, and gets none", name)
            elif self.num_fewshot is not None or own is None:
                task.set_config("num_fewshot", self.num_fewshot or 0)
            if task.OUTPUT_TYPE == "generate_until" and self.gen_kwargs:
                task.set_config("generation_kwargs", self.gen_kwargs, update=True)
        self.digests = {name: definition(task) for name, task in self.loaded.tasks.items()}
        return list(self.loaded.tasks)

    def basis(self, name: str, run: Path | None) -> Mapping[str, object]:
        """What tasks are: lm-eval's version, and hashes of definitions and documents."""
        return {"lm_eval": version("lm-eval"), "definitions": self.digests}

    def records(
        self, evaluated: EvaluatedModel, keys: Sequence[str]
    ) -> Iterator[tuple[str, Record]]:
        """Runs tasks; yields what lm-eval reports of each."""
        model = LmEvalModel(
            evaluated,
            chat=self.chat,
            max_length=self.max_length,
            writing=self.writing,
            batch_size=self.batch_size,
        )
        if reads_bytes(evaluated) and any(_writes(self.loaded.tasks[key]) for key in keys):
            log.info(
                "%s reads bytes: texts may be %s times as long as tasks say in tokens "
                "(harness.lm_eval.bytes_per_token)",
                evaluated.name,
                self.writing.bytes_per_token,
            )
        for key in keys:
            yield key, self._record(model, key, self.loaded.tasks[key])

    def _record(self, model: LmEvalModel, name: str, task: Any) -> Record:
        import lm_eval

        # the same examples whatever was run before
        task.set_fewshot_seed(self.seed)
        random.seed(self.seed)
        np.random.seed(self.seed)  # noqa: NPY002  (tasks of lm-eval draw from it)
        model.needs_greedy = needs_greedy(task)
        with _one_process():
            done = lm_eval.evaluate(
                lm=model,
                task_dict={"tasks": {name: task}, "groups": {}},
                limit=self.limit,
                bootstrap_iters=self.bootstrap_iters,
                log_samples=True,
                apply_chat_template=self.chat,
                fewshot_as_multiturn=self.fewshot_as_multiturn,
            )
        # beside numbers there are names, and N/A for an error that is not known
        numbers = {k: v for k, v in done["results"][name].items() if "," in k and v != "N/A"}
        lost = [key for key, value in numbers.items() if not math.isfinite(value)]
        if lost:
            log.warning(
                "%s, %s: %s is not a number and is left out", model.evaluated.name, name, lost
            )
        return {
            # JSON has no other numbers
            "results": {k: float(v) for k, v in numbers.items() if math.isfinite(v)},
            "higher_is_better": dict(done["higher_is_better"].get(name, {})),
            "count": int(done["n-samples"][name]["effective"]),
            "task_version": str(done["versions"][name]),
            "lm_eval": version("lm-eval"),
            "num_fewshot": int(done["n-shot"].get(name) or 0),
            "samples": _samples(name, task, done["samples"][name]),
        }

    def result(self, records: Mapping[str, Record]) -> Result:
        """A figure for each metric of each group, and of each task that is in none; and samples."""
        figures, groups = figures_of(records, self.loaded.groups)
        samples = [sample for record in records.values() for sample in record["samples"]]
        return Result(figures, groups, samples)


def _writes(task: Any) -> bool:
    return task.OUTPUT_TYPE == "generate_until"


def _samples(name: str, task: Any, logged: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    if not _writes(task):
        return []
    return [
        {
            "task": name,
            "prompt": str(each["arguments"][0][0]),
            "answer": str(each["resps"][0][0]),
            "reference": str(each["target"]),
        }
        for each in logged[:SHOWN]
    ]


@contextmanager
def _one_process() -> Iterator[None]:
    """Makes lm-eval draw bootstrap samples in this process, not in one for each core."""
    before = dict(os.environ)
    os.environ["DISABLE_MULTIPROC"] = "1"
    try:
        yield
    finally:
        if "DISABLE_MULTIPROC" not in before:
            del os.environ["DISABLE_MULTIPROC"]
