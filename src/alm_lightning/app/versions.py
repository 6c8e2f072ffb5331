"""Versions of what a run depends on, for its records."""

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("alm-lightning", "torch", "lightning", "transformers", "tokenizers", "datasets")


def versions() -> dict[str, str]:
    """Installed versions.

    Returns:
        From package to version, Python's own among them; of code that is run from a folder, which
        no package manager knows, that it is not installed.
    """
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        # a checkout on PYTHONPATH; figures of an hour are not lost for a line of their record
        return "not installed"
