"""A hash of a task of lm-eval, by which a task that has changed is noticed."""

import functools
import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

DIGEST_BYTES = 6


def definition(task: Any) -> str:
    """A hash of a task (12 hexadecimal digits): its settings, files of functions, and documents.

    Documents are taken as they were loaded, before a function of the task has changed them, which
    may be random. Those that few-shot examples are taken from are left out: they may be many times
    as many as those that are evaluated.
    """
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    settings = task.config.to_dict(keep_callable=True)
    for each in (settings, type(task), *_documents(task)):
        digest.update(json.dumps(each, sort_keys=True, default=_plain).encode())
    return digest.hexdigest()


def _documents(task: Any) -> Iterator[Mapping[str, object]]:
    split = task.config.test_split or task.config.validation_split
    # tasks that are classes of their own may have none
    if split is not None and task.dataset is not None:
        yield from task.dataset[split]


def _plain(value: object) -> str:
    """What JSON does not have: a function or a class is the text of its file."""
    while isinstance(value, functools.partial):
        value = value.func
    if not callable(value):
        return type(value).__name__
    try:
        path = inspect.getsourcefile(value)
    # built-in functions, and objects that can be called
    except TypeError:
        path = None
    text = "" if path is None else Path(path).read_text("utf-8")
    return f"{getattr(value, '__qualname__', type(value).__name__)}: {text}"
