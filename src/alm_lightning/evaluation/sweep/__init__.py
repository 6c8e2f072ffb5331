"""The page of a sweep: its settings against its figures, the best runs, and their curves.

`reading` turns the folders of the runs into records, and `page` decides what is shown of them. How
it looks is up to `alm_lightning.show`.
"""

from alm_lightning.evaluation.sweep.page import PAGE, sweep_page, write_sweep_page
from alm_lightning.evaluation.sweep.reading import read_sweep

__all__ = ["PAGE", "read_sweep", "sweep_page", "write_sweep_page"]
