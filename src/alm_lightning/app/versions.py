"""Versions of what a run depends on, for its records."""

import platform
from importlib.metadata import version

PACKAGES = ("alm-lightning", "torch", "lightning", "transformers", "tokenizers", "datasets")


def versions() -> dict[str, str]:
    """Installed versions.

    Returns:
        From package to version, Python's own among them.
    """
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
