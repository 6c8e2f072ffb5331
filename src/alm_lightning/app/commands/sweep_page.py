"""The command `python -m alm_lightning.sweep_page`: the page of a sweep, from its folder."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from alm_lightning.app.commands import program_name
from alm_lightning.app.hydra.sweep_table import write_sweep
from alm_lightning.evaluation.sweep import PAGE, read_sweep

BAD_INPUT = 2
"""Exit status of a command that was called wrongly: argparse's own."""

DESCRIPTION = f"""\
Writes {PAGE}, sweep.md and sweep.json of a sweep again, from the folders of its runs: settings
against figures, the best runs with their curves, and those that failed. A sweep writes them itself
after each run; call this where runs were added or taken away. The page needs no network."""

EPILOG = """\
examples:
  python -m alm_lightning.sweep_page multirun/gemma_to_bytes/2026-01-31_12-00-00"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the page of a sweep.

    Args:
        arguments: Of the command line; those of the process if None.
    """
    folder = Path(_parser().parse_args(arguments).folder)
    try:
        # a folder that is not that of a sweep is left as it is
        read_sweep(folder)
        path = write_sweep(folder)
    except (ValueError, OSError) as error:
        Console(stderr=True).print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(BAD_INPUT)
    Console(highlight=False).print(str(path), markup=False, soft_wrap=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program_name("sweep-page", module="sweep_page"),
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", metavar="FOLDER", help="the folder of the sweep")
    return parser
