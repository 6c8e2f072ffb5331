"""Programs without Hydra's command line.

`inspect` draws chunks, `bias` shows what restricts the next token, `gguf` converts an export for
llama.cpp, `sweep_page` draws a sweep, and `workspace` makes one of W&B's.
"""

import sys
from pathlib import Path


def program_name(name: str, module: str | None = None) -> str:
    """What the help calls a program: as it was started, by its console script or its module.

    Args:
        name: What the console script is called behind ``alm-``.
        module: The module of this package, where it has another name.

    Returns:
        A command.
    """
    script = f"alm-{name}"
    if Path(sys.argv[0]).stem == script:
        return script
    return f"python -m alm_lightning.{module or name}"
