"""What a run leaves that diverged: a bake-off does not try it again."""

import json
from pathlib import Path

from alm_lightning.training.diverged import Diverged

DIVERGED = "diverged.json"
"""In the folder of a run that diverged: the step, counted from 0, and the error's message."""


def write_divergence(folder: Path, error: Diverged) -> None:
    """Notes in the folder of a run that it diverged.

    Args:
        folder: The run's.
        error: What ended it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plain = {"step": error.step, "message": str(error)}
    text = json.dumps(plain, indent=2, ensure_ascii=False)
    (folder / DIVERGED).write_text(text + "\n", encoding="utf-8")


def read_divergence(folder: Path) -> str | None:
    """Why the run in a folder diverged.

    Args:
        folder: The run's.

    Returns:
        The error's message; None for a run that did not diverge, as far as it came.
    """
    path = folder / DIVERGED
    return json.loads(path.read_text(encoding="utf-8"))["message"] if path.is_file() else None
