"""Which command would make a part of a report that is not there."""

import shlex
from html import escape

from alm_lightning.evaluation.report.data import ReportData


def missing(data: ReportData, what: str, arguments: str) -> str:
    """Says that a part is not there, and what would make it.

    Args:
        data: The report.
        what: What is not there, as a sentence.
        arguments: Arguments of evaluate.py that make it.

    Returns:
        A paragraph.
    """
    command = f"python evaluate.py model={_model(data)} {arguments} {_folder(data)} report=true"
    return _paragraph(what, command)


def missing_run(data: ReportData, what: str) -> str:
    """Says that a part of a run is not there, and what would make it.

    Args:
        data: The report.
        what: What is not there, as a sentence.

    Returns:
        A paragraph.
    """
    if data.run is None:
        command = (
            f"python evaluate.py model=outputs/<experiment>/<time> {_folder(data)} report=true"
        )
        return _paragraph(f"{what} The model lies in no run's folder.", command)
    return _paragraph(what, "python train.py experiment=...")


def _paragraph(what: str, command: str) -> str:
    return f'<p class="missing">{escape(what)} This makes them: <code>{escape(command)}</code></p>'


def _model(data: ReportData) -> str:
    return "PATH" if data.run is None else shlex.quote(str(data.run.folder))


def _folder(data: ReportData) -> str:
    # the same folder, so that what is there stays and only what is missing is scored
    return f"paths.output_dir={shlex.quote(str(data.folder))}"
