"""Tasks of EleutherAI's lm-eval, found by name and loaded with their data before any model is."""

import difflib
import importlib.util
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

NUM_CLOSE = 5
"""Names that an error suggests."""


@dataclass(frozen=True)
class Tasks:
    """Loaded tasks and groups.

    Attributes:
        tasks: Tasks by name, in order, those of groups among them.
        groups: Groups by name.
    """

    tasks: Mapping[str, Any]
    groups: Mapping[str, Any]


def find_tasks(names: Sequence[str], include_path: Path | None) -> Tasks:
    """Loads tasks with their data: names of tasks, groups or tags, patterns, files of one task.

    Besides the tasks of lm-eval itself, `include_path` and the folders in it are searched. A
    ValueError says that there is no such task, or that its data can't be loaded.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise ModuleNotFoundError(
            "the package lm-eval is needed (by harness=lm_eval), and is not installed. Install "
            "with: pip install 'alm-lightning[eval]'"
        )
    if include_path is not None and not include_path.is_dir():
        raise FileNotFoundError(
            f"include_path={include_path} (harness.lm_eval.include_path): there is no such folder. "
            "Expected one with a YAML file a task."
        )
    manager = _manager(names, include_path)
    wanted: list[str] = []
    for name in names:
        matching = [name] if name in manager.task_index else manager.match_tasks([name])
        if not matching and not Path(name).is_file():
            raise ValueError(_unknown(name, manager.all_tasks, include_path))
        wanted += matching or [name]
    try:
        loaded = manager.load(list(dict.fromkeys(wanted)))
    # raised by a dataset that is not available, or not as the task expects
    except (OSError, ValueError, LookupError) as error:
        raise ValueError(
            f"tasks={list(names)} (harness.lm_eval.tasks) can't be loaded: {error} "
            f"({type(error).__name__}). Most tasks fetch their data from the hub; a task of your "
            "own can read files: dataset_path: json, dataset_kwargs: {data_files: {test: FILE}}."
        ) from error
    return Tasks(loaded["tasks"], loaded.get("groups", {}))


def _manager(names: Sequence[str], include_path: Path | None) -> Any:
    from lm_eval.tasks import TaskManager

    if include_path is not None:
        own = TaskManager(include_path=include_path, include_defaults=False)
        # groups may have members that are lm-eval's own
        if set(names) <= set(own.all_subtasks):
            return own
    # thousands of files, half a minute
    log.info("looking through the tasks of lm-eval")
    return TaskManager(include_path=include_path)


def _unknown(name: str, known: Sequence[str], include_path: Path | None) -> str:
    close = difflib.get_close_matches(name, known, NUM_CLOSE, cutoff=0.5)
    suggested = f" Close to it: {', '.join(close)}." if close else ""
    folder = (
        "Tasks of your own are found with include_path=FOLDER (harness.lm_eval.include_path)."
        if include_path is None
        else f"Of {include_path}, only files that are valid YAML with a `task:` count."
    )
    return (
        f"tasks has {name!r} (harness.lm_eval.tasks), which is no task, group or tag of lm-eval, "
        f"and no file.{suggested} {folder} `lm_eval ls tasks` lists all."
    )


def needs_greedy(task: Any) -> bool:
    """Whether a task asks if answers are the likeliest; False if it compares likelihoods alone."""
    is_plain_choice = (
        task.OUTPUT_TYPE == "multiple_choice"
        and task.config.process_results is None
        and type(task).process_results.__module__ == "lm_eval.api.task"
    )
    return not is_plain_choice or "exact_match" in task.aggregation()
