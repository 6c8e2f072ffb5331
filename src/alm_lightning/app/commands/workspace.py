"""The command `python -m alm_lightning.wandb_workspace`: a W&B workspace and report, as code."""

import argparse
import importlib.util
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import cast

import wandb
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from rich.console import Console

from alm_lightning.app.commands import program_name
from alm_lightning.app.log import is_wandb_offline
from alm_lightning.app.programs import conf_folder
from alm_lightning.app.workspace import View, view_of
from alm_lightning.app.workspace.panels import known_terms
from alm_lightning.app.workspace.upload import report_of, workspace_of

BAD_INPUT = 2
"""Exit status of a command that was called wrongly: argparse's own."""

DESCRIPTION = """\
Makes a W&B workspace and a report of the runs of a project (logger=wandb): bits per byte, losses by
term, balance, chunks, speed, settings, samples. Each call makes new ones. Without a key, or with
--offline, it prints what it would make, as JSON, and needs neither W&B nor a network."""

EPILOG = """\
examples:
  python -m alm_lightning.wandb_workspace --offline
  python -m alm_lightning.wandb_workspace --entity my-team --objective alm_next_token
  python -m alm_lightning.wandb_workspace --group gemma_to_bytes_search"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes a workspace and a report, or prints what they would be.

    Args:
        arguments: Of the command line; those of the process if None.
    """
    options = _parser().parse_args(arguments)
    console = Console(stderr=True, highlight=False)
    try:
        view = view_of(
            _terms(options.objective),
            project=options.project,
            entity=options.entity,
            group=options.group,
        )
        if options.offline or is_wandb_offline():
            why = "--offline" if options.offline else "no key of W&B's, or WANDB_MODE=offline"
            json.dump(asdict(view), sys.stdout, indent=2)
            sys.stdout.write("\n")
            panels = sum(len(section.panels) for section in view.sections)
            console.print(
                f"nothing was made ({why}). Online, this would be a workspace and a report of "
                f"{len(view.sections)} sections and {panels} panels in project {view.project}.",
                markup=False,
                soft_wrap=True,
            )
            return
        for name, url in _made(view).items():
            Console(highlight=False).print(f"{name:<9} {url}", markup=False, soft_wrap=True)
    except (ValueError, ImportError, OSError, HydraException, wandb.Error) as error:
        message = " ".join(str(error).split())
        console.print(f"error: {message}", markup=False, soft_wrap=True)
        sys.exit(BAD_INPUT)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program_name("workspace", module="wandb_workspace"),
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--project", default="alm-lightning", help="W&B project (default: alm-lightning)"
    )
    parser.add_argument("--entity", help="user or team (default: that of the key)")
    parser.add_argument("--group", help="only runs of this group, such as a sweep")
    parser.add_argument(
        "--objective",
        action="append",
        default=[],
        metavar="NAME",
        help="a file of conf/objective, whose terms have panels; may be repeated (default: all)",
    )
    parser.add_argument(
        "--offline", action="store_true", help="print what would be made, as JSON, and make nothing"
    )
    return parser


def _terms(objectives: Sequence[str]) -> list[str]:
    """Terms of the loss of some objectives, or of all."""
    conf = conf_folder()
    if not objectives:
        return known_terms(conf / "objective")
    with initialize_config_dir(version_base="1.3", config_dir=str(conf)):
        nodes = [compose(f"objective/{name}").objective for name in objectives]
    return list(dict.fromkeys(str(key) for node in nodes for key in node if node[key] is not None))


def _made(view: View) -> dict[str, str]:
    """Makes both; their addresses by what they are."""
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise ImportError(
            "making a workspace needs wandb-workspaces: pip install 'alm-lightning[sweeps]'. With "
            "--offline the command only prints what it would make."
        )
    entity = view.entity or cast("str | None", wandb.Api().default_entity)
    if entity is None:
        raise ValueError("W&B knows no default entity of this key. Give --entity USER_OR_TEAM.")
    workspace = workspace_of(view, entity).save()
    report = report_of(view, entity).save()
    return {"workspace": workspace.url, "report": report.url}
