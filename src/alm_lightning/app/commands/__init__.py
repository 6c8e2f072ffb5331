"""Programs without Hydra: `inspect` draws chunks, `bias` shows what restricts the next token."""

import sys
from pathlib import Path


def program_name(name: str) -> str:
    """What the help calls a program: as it was started, by its console script or its module."""
    script = f"alm-{name}"
    return script if Path(sys.argv[0]).stem == script else f"python -m alm_lightning.{name}"
