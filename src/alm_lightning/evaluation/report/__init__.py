"""The report of a run and its evaluations: one self-contained HTML page.

`reading` turns the files of a run and of an evaluation into the records of `data`, and the other
modules decide which of them a page shows. How it looks is up to `alm_lightning.show`.
"""

from alm_lightning.evaluation.report.page import report_page, write_report
from alm_lightning.evaluation.report.reading import read_report

__all__ = ["read_report", "report_page", "write_report"]
